"""A small marketplace over real HTTP that fails where the clients must cope: restarts, spent tokens, cut streams."""

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

OFFERS = 450
TIMELINE = 1_001
LOG = "epoch 1\nepoch 2\nepoch 3\n"
EVENTS = ["queued", "matched", "running", "done"]
START_S = 10.0


class Marketplace:
    """What it was asked, and how it answers. One per test."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[tuple[str, str]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self.page_sizes: list[int] = []
        self.refreshed: list[str] = []
        self.access_token = "fresh"
        self.restarting = 0
        self.streams: list[tuple[str | None, int]] = []
        self.cuts = 1

    def app(self) -> Starlette:
        """Its routes."""
        return Starlette(
            routes=[
                Route("/api/v1/offers", self.offers),
                Route("/api/v1/wallet", self.wallet),
                Route("/api/v1/auth/token/refresh", self.refresh, methods=["POST"]),
                Route("/api/v1/uploads", self.uploads, methods=["POST"]),
                Route("/store/{name}", self.store, methods=["PUT", "GET"]),
                Route("/api/v1/jobs", self.submit, methods=["POST"]),
                Route("/api/v1/bookings", self.book, methods=["POST"]),
                Route("/api/v1/jobs/{job_id}", self.job),
                Route("/api/v1/jobs/{job_id}/events", self.timeline),
                Route("/api/v1/jobs/{job_id}/log", self.log),
                Route("/api/v1/jobs/{job_id}/stream", self.stream),
            ]
        )

    async def offers(self, request: Request) -> Response:
        first, size = int(request.query_params.get("cursor", 0)), int(request.query_params["limit"])
        self.page_sizes.append(size)
        last = min(first + size, OFFERS)
        return JSONResponse(
            {
                "items": [{"id": f"off_{n}"} for n in range(first, last)],
                "next_cursor": str(last) if last < OFFERS else None,
            }
        )

    async def timeline(self, request: Request) -> Response:
        after, limit = int(request.query_params["after"]), int(request.query_params["limit"])
        last = min(after + min(limit, 500), TIMELINE)
        return JSONResponse([{"id": n, "kind": "checkpoint"} for n in range(after + 1, last + 1)])

    async def wallet(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.access_token}":
            return problem(401, "token_expired", "The token is too old.")
        return JSONResponse({"balance_micros": 5})

    async def refresh(self, request: Request) -> Response:
        spent = (await request.json())["refresh_token"]
        if spent in self.refreshed:
            return problem(401, "refresh_token_reused", "This token was used before.")
        self.refreshed.append(spent)
        return JSONResponse({"access_token": self.access_token, "refresh_token": f"{spent}+"})

    async def uploads(self, request: Request) -> Response:
        name = (await request.json())["blake3"]
        url = None if name in self.stored else f"/store/{name}"
        return JSONResponse({"id": f"upl_{name[:8]}", "put_url": url, "headers": {"X-Kept": "yes"}}, 201)

    async def store(self, request: Request) -> Response:
        name = request.path_params["name"]
        if request.method == "PUT":
            assert request.headers["x-kept"] == "yes"
            self.stored[name] = await request.body()
            return Response(status_code=201)
        start, _, end = request.headers["range"].removeprefix("bytes=").partition("-")
        return Response(self.stored[name][int(start) : int(end) + 1], 206)

    async def submit(self, request: Request) -> Response:
        self.keys.append(("/jobs", request.headers["idempotency-key"]))
        if self.restarting:
            self.restarting -= 1
            return Response("the proxy found nobody", 502)
        return JSONResponse(self._new_job(await request.json()), 201)

    async def book(self, request: Request) -> Response:
        body = await request.json()
        if body["offer_id"] == "off_taken":
            return problem(409, "offer_taken", "Somebody else was quicker.", suggestion="off_2")
        return JSONResponse({"job_id": self._new_job(body["job"])["id"]}, 201)

    async def job(self, request: Request) -> Response:
        found = self.jobs.get(request.path_params["job_id"])
        return JSONResponse(found) if found else problem(404, "not_found", "There is no such job.")

    async def log(self, request: Request) -> Response:
        offset = int(request.query_params["offset"])
        text = LOG[offset : offset + 10]
        return JSONResponse({"text": text, "next_offset": offset + len(text)})

    async def stream(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["job_id"])
        if job is None:
            return problem(404, "not_found", "There is no such job.")
        after = int(request.headers["last-event-id"])
        offset = int(request.query_params["log_offset"])
        self.streams.append((request.headers["last-event-id"], offset))

        async def events() -> AsyncIterator[str]:
            for number, kind in enumerate(EVENTS, 1):
                if number > after:
                    yield f"id: {number}\nevent: timeline\ndata: {json.dumps({'id': number, 'kind': kind})}\n\n"
                if number == 2 and self.cuts:
                    self.cuts -= 1
                    yield f"event: log\ndata: {json.dumps({'text': LOG[:8], 'next_offset': 8})}\n\n"
                    raise ConnectionResetError("cut")
            yield ": a comment\n\nevent: unheard-of\ndata: {}\n\n"
            end = len(LOG)
            yield f"event: log\ndata: {json.dumps({'text': LOG[max(offset, 8) :], 'next_offset': end})}\n\n"
            job["state"] = "done"
            yield "event: end\ndata: {}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    def _new_job(self, spec: dict[str, Any]) -> dict[str, Any]:
        job = {"id": f"job_{len(self.jobs) + 1}", "state": "queued", "spec": spec}
        self.jobs[str(job["id"])] = job
        return job


def problem(status: int, code: str, detail: str, **extra: str) -> Response:
    document = {"status": status, "code": code, "detail": detail, **extra}
    return JSONResponse(document, status, media_type="application/problem+json")


@contextmanager
def serving(marketplace: Marketplace) -> Iterator[Marketplace]:
    """Serve it on a port of its own, from a thread, so that clients without an event loop reach it too."""
    server = uvicorn.Server(
        uvicorn.Config(marketplace.app(), host="127.0.0.1", port=0, log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_S
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    marketplace.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield marketplace
    finally:
        server.should_exit = True
        thread.join(START_S)
