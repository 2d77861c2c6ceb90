"""Every error as {"detail": "one sentence"}."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engine.errors import KouboError
from streaming.errors import Refusal


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return JSONResponse({"detail": str(error)}, error.status, error.headers)


async def _failed(_request: Request, error: Exception) -> JSONResponse:
    """A KouboError of the engine: the server's own files or tools are at fault, not the request."""
    return JSONResponse({"detail": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    if first["type"] == "json_invalid":
        sentence = "The body is not valid JSON."
    elif where:
        sentence = f"The field {where} is not usable: {_lower(first['msg'])}."
    else:
        sentence = f"The body is not usable: {_lower(first['msg'])}."
    return JSONResponse({"detail": sentence}, HTTPStatus.UNPROCESSABLE_ENTITY)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        sentence = "There is nothing at this address."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        sentence = "This address does not take that method."
    else:
        sentence = f"{error.detail}."
    return JSONResponse({"detail": sentence}, error.status_code, error.headers)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".")


def add_error_handlers(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(KouboError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
