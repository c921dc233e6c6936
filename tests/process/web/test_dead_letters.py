"""Dead letters over HTTP: listed, shown with picture or event, resent; for who knows the token only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.running import RunningPipeline
from tests.process.commands.test_dead_letters import CODE, graph, taken
from tests.process.web.client import WebClient
from tests.process.web.test_pulling import average

TOKEN = "a-token-for-the-tests"
WEB = {"port": 0, "token": TOKEN}


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "down").touch()
    (tmp_path / "stay").touch()


def test_what_was_given_up_is_listed_shown_and_resent(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "shop", graph(12), web=WEB) as run:
        url = run.wait(lambda: run.status().get("web"), what="the server's address")
        client, nobody = WebClient(url, TOKEN), WebClient(url)
        listed = run.wait(lambda: (found := client.get("/dead-letters"))["count"] == 12 and found, what="all of them")
        letters = listed["dead_letters"]
        assert [one["at"] for one in letters] == sorted((one["at"] for one in letters), reverse=True)
        assert listed["let_go"] == 0 and len(client.get("/dead-letters?limit=3")["dead_letters"]) == 3
        (frame,) = [one for one in letters if one["kind"] == "frame"]
        assert frame["picture"] is True and "payload" not in frame

        shown = client.get(f"/dead-letters/{frame['id']}")
        assert "ValueError: faulty picture" in shown["why"] and str(tmp_path) not in str(shown["picture"])
        picture = client.ask(f"/dead-letters/{frame['id']}/picture.jpg?width=32")
        assert picture.headers["content-type"] == "image/jpeg" and abs(average(picture.body) - 1) <= 3
        event = letters[0] if letters[0]["kind"] == "event" else letters[1]
        whole = client.get(f"/dead-letters/{event['id']}")
        assert whole["event"]["data"]["raw"] == "AP8=" and "the target is down" in whole["why"]
        assert client.ask(f"/dead-letters/{event['id']}/picture.jpg").json["code"] == "no_picture"
        assert client.ask("/dead-letters/nope").json["code"] == "no_dead_letter"

        # Nobody sees or changes any of it without the token.
        for path in ("/dead-letters", f"/dead-letters/{event['id']}", f"/dead-letters/{frame['id']}/picture.jpg"):
            assert nobody.ask(path).status == 401
        assert nobody.ask("/dead-letters/resend", "POST", {"all": True}).status == 401
        cross = client.ask("/dead-letters/resend", "POST", {"all": True}, {"Origin": "https://evil.example"})
        assert cross.status == 403 and client.get("/dead-letters")["count"] == 12
        for body in ({}, {"ids": "x"}, {"ids": [1]}, {"all": "yes"}, {"all": True, "more": 1}):
            assert client.ask("/dead-letters/resend", "POST", body).status == 400, body

        (tmp_path / "down").unlink()
        one = client.post("/dead-letters/resend", {"ids": [event["id"], frame["id"]]})
        assert one["resent"] == 1 and [left["id"] for left in one["left"]] == [frame["id"]]
        assert "a frame cannot be resent" in one["left"][0]["why"]
        rest = client.post("/dead-letters/resend", {"all": True})
        assert (rest["resent"], rest["left"], rest["frames"]) == (10, [], 1)
        run.wait(lambda: len(taken(tmp_path)) == 11, what="all of them at the sink")
        assert client.get("/dead-letters")["count"] == 1
        assert client.get("/dead-letters?resent=yes")["count"] == 12
        (tmp_path / "stay").unlink()
        assert run.end(None)["unaccounted"] == 0
