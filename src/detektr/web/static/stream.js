// The server's events, over one connection for all pages of a browser that show the same pipeline. A browser opens six
// connections to a server and no more: if each page listened by itself, the seventh would show nothing at all.
const KINDS = ["reset", "state", "ready", "drop", "dead_letter", "consumer", "operator", "lag", "result"];

// A connection of one's own. `hear(kind, text)` is told each event, `fail(isOver)` that the connection was lost; unless it is
// over, the browser tries again by itself.
export class Connection {
  constructor(address, hear, fail) {
    const source = (this.source = new EventSource(address));
    for (const kind of KINDS) source.addEventListener(kind, (message) => hear(kind, message.data));
    source.addEventListener("error", () => fail(source.readyState === EventSource.CLOSED));
  }

  stay() {}

  close() {
    this.source.close();
  }
}

let port = null; // to the worker that listens for all pages

// The same through that worker. It forgets pages that do not say that they are still there.
class Share {
  constructor(address, hear, fail) {
    this.address = address;
    port.onmessage = ({data}) => {
      if (data.address !== this.address) return;
      if (data.kind === "error") fail(data.isOver);
      else hear(data.kind, data.text);
    };
    this.stay();
  }

  stay() {
    port?.postMessage({address: this.address});
  }

  close() {
    if (!port) return;
    port.onmessage = null;
    port.postMessage({address: this.address, isLeaving: true});
  }
}

export function connect(address, hear, fail) {
  return port ? new Share(address, hear, fail) : new Connection(address, hear, fail);
}

// For pages alone: the worker imports this module too. Where there are no such workers, each page listens by itself.
export function shareConnections(failed) {
  if (typeof SharedWorker === "undefined") return;
  const worker = new SharedWorker(new URL("stream_worker.js", import.meta.url), {type: "module"});
  port = worker.port;
  worker.onerror = () => {
    port = null;
    failed();
  };
  addEventListener("pagehide", () => port?.postMessage({isLeaving: true}));
  port.start();
}
