"""From exceptions to statuses."""

from __future__ import annotations

import logging

import pytest

from framework.model import errors as model
from framework.remote import Cancelled, CommandFailed
from framework.storage import StorageUnavailable
from framework.turn import InternalError
from gateway import errors
from gateway.workers import WorkerDied


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (model.Invalid("x"), 400),
        (model.Unauthorized("x"), 401),
        (model.Forbidden("x"), 403),
        (model.NotFound("x"), 404),
        (errors.MethodNotAllowed("x", ["GET"]), 405),
        (model.Conflict("x"), 409),
        (model.TooLarge("x"), 413),
        (errors.UnsupportedEncoding("x"), 415),
        (model.Unsatisfiable("x"), 422),
        (model.NotSupported("x"), 501),
        (errors.UpstreamFailed("x"), 502),
        (CommandFailed("x"), 502),
        (Cancelled("x"), 502),
        (model.Unavailable("x"), 503),
        (StorageUnavailable("x"), 503),
        (WorkerDied("x"), 503),
        (ValueError("x"), 500),
    ],
)
def test_the_nearest_class_decides(error: Exception, status: int) -> None:
    assert errors.status_of(error) == status
    assert errors.describe(error).status == status


def test_every_error_of_the_model_has_a_status_of_its_own() -> None:
    kinds = {k for k in vars(model).values() if isinstance(k, type) and issubclass(k, Exception)}
    assert kinds <= set(errors.STATUSES)


def test_all_sentences_are_shown() -> None:
    assert errors.describe(model.Invalid("one", "two")).messages == ("one", "two")


def test_headers() -> None:
    assert errors.describe(model.Unavailable("x", retry_after=9)).headers == (("Retry-After", "9"),)
    allowed = errors.describe(errors.MethodNotAllowed("x", ["GET", "PUT"]))
    assert allowed.headers == (("Allow", "GET, PUT"),)
    assert errors.describe(model.Unauthorized("x")).headers[0][0] == "WWW-Authenticate"


def test_a_defect_shows_an_id_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        problem = errors.describe(KeyError("secret"))
    assert problem.status == 500
    assert "secret" not in problem.messages[0]
    identity = problem.messages[0].rpartition(" ")[2]
    assert identity in caplog.text
    assert "secret" in caplog.text


def test_a_defect_of_the_scheduler_keeps_its_reference() -> None:
    defect = InternalError()
    assert defect.reference in errors.describe(defect).messages[0]


def test_legacy_changes_the_status_only() -> None:
    problem = errors.describe(model.Unavailable("x", retry_after=3))
    assert errors.legacy(problem) == errors.Problem(500, ("x",), (("Retry-After", "3"),), "unavailable")
