"""A typical proxy with FastAPI and httpx: a new client for each request.

uvicorn serves it with its fast parts (uvloop, httptools). It does only the necessary work: rewrite
the path, pass method, headers and body on, and the answer back.
"""

import os

import httpx
from fastapi import FastAPI, Request, Response

UPSTREAM = os.environ["UPSTREAM"]
HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade"}


async def forward(request: Request) -> Response:
    """Send a request on and return the answer."""
    path = request.url.path
    if path.startswith("/api/"):
        path = f"/ajax-api/{path.removeprefix('/api/')}"
    headers = {k: v for k, v in request.headers.items() if k not in HOP_BY_HOP}
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.request(
            request.method,
            f"{UPSTREAM}{path}",
            params=request.query_params,
            headers=headers,
            content=await request.body(),
        )
    kept = {k: v for k, v in answer.headers.items() if k not in HOP_BY_HOP}
    return Response(answer.content, answer.status_code, kept)


app = FastAPI()
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
app.add_api_route("/{path:path}", forward, methods=METHODS, response_model=None)
