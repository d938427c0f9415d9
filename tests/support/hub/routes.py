"""The routes of the Hub that its client asks for when it works on Spaces."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from tests.support.hub.repositories import HubState, Refusal, Space, User, git_oid, is_large, mistakes_of_card


def make_hub(state: HubState) -> FastAPI:
    """The application over a state."""
    app = FastAPI()

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> JSONResponse:
        headers = {"X-Error-Message": refusal.message, "X-Request-Id": "request-1"}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        return JSONResponse({"error": refusal.message}, refusal.status, headers)

    def user_of(request: Request) -> User:
        return state.user(request.headers.get("authorization", "").removeprefix("Bearer "))

    def own(request: Request, owner: str, name: str) -> tuple[Space, User]:
        user = user_of(request)
        return state.own_space(f"{owner}/{name}", user), user

    def page(space: Space) -> str:
        return f"{state.endpoint}/spaces/{space.id}"

    @app.get("/api/whoami-v2")
    async def whoami(request: Request) -> Any:
        user = user_of(request)
        return {
            "type": "user",
            "name": user.name,
            "orgs": [{"name": organization} for organization in user.organizations],
            "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}},
        }

    @app.get("/api/agent-harnesses")
    async def harnesses() -> Any:
        return {"standardEnvVars": [], "harnesses": {}}

    @app.post("/api/validate-yaml")
    async def validate_yaml(request: Request) -> Any:
        mistakes = [{"message": message} for message in mistakes_of_card((await request.json())["content"])]
        return JSONResponse({"errors": mistakes, "warnings": []}, 400 if mistakes else 200)

    @app.post("/api/repos/create")
    async def create(request: Request) -> Any:
        user, asked = user_of(request), await request.json()
        space = state.create(f"{asked['organization'] or user.name}/{asked['name']}", user, asked)
        return {"url": page(space)}

    @app.get("/api/spaces")
    async def search(request: Request, response: Response, filter: str = "", search: str = "") -> Any:
        query = request.query_params
        token = request.headers.get("authorization")
        user = user_of(request) if token else None
        owners = {user.name, *user.organizations} if user else set()
        found = [
            space
            for space in state.spaces.values()
            if filter in space.tags
            and search.lower() in space.id.lower()
            and (not space.private or space.id.partition("/")[0] in owners)
        ]
        if query.get("sort") == "likes":
            found.sort(key=lambda space: -space.likes)
        begin = int(query.get("cursor", 0))
        if len(found) > begin + state.page_size:
            following = request.url.include_query_params(cursor=begin + state.page_size)
            response.headers["Link"] = f'<{following}>; rel="next"'
        return [
            {
                "id": space.id,
                "sdk": space.sdk,
                "likes": space.likes,
                "subdomain": _subdomain(space),
                "cardData": space.card,
                "runtime": _runtime(space),
            }
            for space in found[begin : begin + state.page_size]
        ]

    @app.get("/api/spaces/{owner}/{name}")
    @app.get("/api/spaces/{owner}/{name}/revision/{revision}")
    async def info(request: Request, owner: str, name: str) -> Any:
        space = state.space(f"{owner}/{name}", user_of(request))
        subdomain = _subdomain(space)
        return {
            "id": space.id,
            "author": owner,
            "sha": space.sha,
            "private": space.private,
            "sdk": space.sdk,
            "subdomain": subdomain,
            "host": space.host or f"https://{subdomain}.hf.space",
            "cardData": {} if space.app_port is None else {"app_port": space.app_port},
            "siblings": [{"rfilename": path} for path in space.files],
            "tags": [],
            "likes": 0,
            "runtime": _runtime(space),
        }

    @app.put("/api/spaces/{owner}/{name}/settings")
    async def settings(request: Request, owner: str, name: str) -> Any:
        space, user = own(request, owner, name)
        state.change(space, user, **await request.json())
        return {}

    @app.get("/api/spaces/{owner}/{name}/runtime")
    async def runtime(request: Request, owner: str, name: str) -> Any:
        space = state.space(f"{owner}/{name}", user_of(request))
        answer = _runtime(space)
        if len(space.stages) > 1:
            del space.stages[0]
        return answer

    @app.post("/api/spaces/{owner}/{name}/hardware")
    async def hardware(request: Request, owner: str, name: str) -> Any:
        space, user = own(request, owner, name)
        state.change(space, user, hardware=(await request.json())["flavor"])
        return _runtime(space)

    @app.get("/api/spaces/{owner}/{name}/variables")
    async def variables(request: Request, owner: str, name: str) -> Any:
        return _variables(own(request, owner, name)[0])

    @app.post("/api/spaces/{owner}/{name}/variables")
    async def set_variable(request: Request, owner: str, name: str) -> Any:
        space, asked = own(request, owner, name)[0], await request.json()
        space.variables[asked["key"]] = asked["value"]
        return _variables(space)

    @app.post("/api/spaces/{owner}/{name}/secrets")
    async def set_secret(request: Request, owner: str, name: str) -> Any:
        space, asked = own(request, owner, name)[0], await request.json()
        space.secrets[asked["key"]] = asked["value"]
        return {}

    @app.post("/api/spaces/{owner}/{name}/duplicate")
    async def duplicate(request: Request, owner: str, name: str) -> Any:
        asked = await request.json()
        return {"url": page(state.duplicate(f"{owner}/{name}", user_of(request), asked))}

    @app.post("/api/spaces/{owner}/{name}/preupload/{revision}")
    async def preupload(request: Request, owner: str, name: str) -> Any:
        space = state.space(f"{owner}/{name}", user_of(request))
        asked = await request.json()
        files = [{**file, "sample": base64.b64decode(file["sample"])} for file in asked["files"]]
        return {"files": state.modes(space, files, asked.get("gitIgnore"))}

    @app.post("/api/spaces/{owner}/{name}/commit/{revision}")
    async def commit(request: Request, owner: str, name: str, create_pr: int = 0) -> Any:
        user = user_of(request)
        space = state.space(f"{owner}/{name}", user) if create_pr else own(request, owner, name)[0]
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        header = lines[0]["value"]
        files: dict[str, bytes] = {}
        deleted = []
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                deleted.append(value["path"])
            elif line["key"] == "lfsFile" and value["oid"] in state.large_files:
                files[value["path"]] = state.large_files[value["oid"]]
            else:
                raise Refusal(400, f"{line['key']} {value['path']} cannot be committed")
        sha, pull_request = state.commit(
            space,
            header["summary"],
            header.get("parentCommit"),
            files,
            deleted,
            as_pull_request=bool(create_pr),
        )
        answer = {"success": True, "commitOid": sha, "commitUrl": f"{page(space)}/commit/{sha}"}
        if pull_request is not None:
            answer["pullRequestUrl"] = f"{page(space)}/discussions/{pull_request.number}"
        return answer

    _add_large_files(app, state)
    _add_downloads(app, state, user_of)
    return app


def _add_large_files(app: FastAPI, state: HubState) -> None:
    """The LFS batch protocol, with its own store for the bytes, in one piece or in parts."""
    parts: dict[str, dict[int, bytes]] = {}

    @app.post("/spaces/{owner}/{name}.git/info/lfs/objects/batch")
    async def batch(request: Request) -> Any:
        answers = []
        for wanted in (await request.json())["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in state.large_files:
                store = f"{state.endpoint}/store/{wanted['oid']}"
                action: dict[str, Any] = {"href": store}
                if wanted["size"] > state.part_size:
                    count = -(-wanted["size"] // state.part_size)
                    numbered = {str(number): f"{store}/parts/{number}" for number in range(1, count + 1)}
                    action["header"] = {"chunk_size": str(state.part_size), **numbered}
                answer["actions"] = {"upload": action}
            answers.append(answer)
        return {"transfer": "basic", "objects": answers}

    def keep(oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(400, "These bytes are not those of the oid")
        state.large_files[oid] = content

    @app.put("/store/{oid}")
    async def put(request: Request, oid: str) -> Response:
        keep(oid, await request.body())
        return Response()

    @app.put("/store/{oid}/parts/{number}")
    async def put_part(request: Request, oid: str, number: int) -> Response:
        content = await request.body()
        parts.setdefault(oid, {})[number] = content
        return Response(headers={"ETag": hashlib.md5(content).hexdigest()})

    @app.post("/store/{oid}")
    async def complete(oid: str) -> Any:
        keep(oid, b"".join(content for _, content in sorted(parts.pop(oid).items())))
        return {}


def _add_downloads(app: FastAPI, state: HubState, user_of: Any) -> None:
    @app.get("/api/spaces/{owner}/{name}/tree/{revision}")
    async def tree(request: Request, owner: str, name: str) -> Any:
        space = state.space(f"{owner}/{name}", user_of(request))
        return [_entry(path, content) for path, content in space.files.items()]

    @app.api_route("/spaces/{owner}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    async def resolve(request: Request, owner: str, name: str, path: str) -> Response:
        space = state.space(f"{owner}/{name}", user_of(request))
        if path not in space.files:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        entry = _entry(path, space.files[path])
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": space.sha}
        return Response(space.files[path], media_type="application/octet-stream", headers=headers)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
    if is_large(len(content), content):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def _subdomain(space: Space) -> str:
    return re.sub(r"[^a-z0-9]+", "-", space.id.lower())


def _variables(space: Space) -> dict[str, Any]:
    return {key: {"key": key, "value": value} for key, value in space.variables.items()}


def _runtime(space: Space) -> dict[str, Any]:
    return {
        "stage": space.stages[0],
        "hardware": {"current": None, "requested": space.hardware},
        "gcTimeout": None,
    }
