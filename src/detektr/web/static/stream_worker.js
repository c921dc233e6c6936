// Listens for all pages of a browser: one connection for each address, as long as a page is there that wants it.
import {Connection} from "./stream.js";

const GONE_MS = 10_000; // pages say once a second that they are still there
const LOOK_MS = 2000;
const streams = new Map(); // by address

class Stream {
  constructor(address) {
    this.address = address;
    this.pages = new Map(); // by port: when it was heard last
    this.reset = null; // what a page is told that comes later
    this.connection = new Connection(
      address,
      (kind, text) => {
        if (kind === "reset") this.reset = JSON.parse(text);
        this.tellAll({kind, text});
      },
      (isOver) => {
        this.reset = null;
        this.tellAll({kind: "error", isOver});
        if (isOver) this.close();
      },
    );
  }

  tellAll(message) {
    for (const page of this.pages.keys()) page.postMessage({address: this.address, ...message});
  }

  stay(page) {
    const isNew = !this.pages.has(page);
    this.pages.set(page, performance.now());
    if (!isNew || !this.reset) return;
    const text = JSON.stringify({...this.reset, at: new Date().toISOString()});
    page.postMessage({address: this.address, kind: "reset", text});
  }

  leave(page) {
    this.pages.delete(page);
    if (!this.pages.size) this.close();
  }

  close() {
    this.connection.close();
    streams.delete(this.address);
  }
}

addEventListener("connect", ({ports: [page]}) => {
  page.onmessage = ({data: {address, isLeaving}}) => {
    for (const stream of [...streams.values()])
      if (stream.pages.has(page) && (isLeaving || stream.address !== address)) stream.leave(page);
    if (isLeaving) return;
    if (!streams.has(address)) streams.set(address, new Stream(address));
    streams.get(address).stay(page);
  };
});

setInterval(() => {
  for (const stream of [...streams.values()])
    for (const [page, heard] of [...stream.pages]) if (performance.now() - heard > GONE_MS) stream.leave(page);
}, LOOK_MS);
