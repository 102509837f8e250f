"""What is no address of a server, or no limit, is refused before anything is sent."""

from __future__ import annotations

import pytest

from roboref_node.pointing.http_settings import HttpSettings
from roboref_node.status import Refused, Status

BAD_ADDRESSES = [
    *("", "localhost:8000", "ftp://localhost", "http://", "http://user:word@localhost", "http://:word@localhost", "file:///etc/passwd"),
    *("http://127.0.0.1:99999", "http://127.0.0.1:abc", "http://127.0.0.1:-1", "http://127.0.0.1:0", "http://[::1", "http://::1]"),
    *("http://a..b", "http://" + "a" * 70, "http://localhost/\x00", "http://h?x", "http://h#x"),
]


@pytest.mark.parametrize("url", BAD_ADDRESSES)
def test_addresses_that_are_none_are_bad_requests(url: str) -> None:
    with pytest.raises(Refused) as refusal:
        HttpSettings(url)
    assert refusal.value.status is Status.BAD_REQUEST and "`url`" in refusal.value.sentence


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "HTTP://Robot_7:80/a/b", "https://[::1]:8443/v1", "http://robot.local"])
def test_addresses_that_are_some_are_taken(url: str) -> None:
    assert HttpSettings(url).url == url


def test_a_token_is_not_sent_unencrypted_to_another_machine_unless_allowed() -> None:
    with pytest.raises(Refused) as refusal:
        HttpSettings("http://192.0.2.1:8000", token_env="ROBOREF_TEST_TOKEN")
    assert refusal.value.status is Status.BAD_REQUEST and "allow_token_over_http" in refusal.value.sentence
    HttpSettings("http://192.0.2.1:8000", token_env="ROBOREF_TEST_TOKEN", allow_token_over_http=True)
    HttpSettings("https://192.0.2.1:8000", token_env="ROBOREF_TEST_TOKEN")


@pytest.mark.parametrize("change", [{"read_timeout_s": 0}, {"total_timeout_s": float("nan")}, {"retries": -1}, {"max_response_bytes": 0}])
def test_settings_out_of_range_are_bad_requests(change: dict) -> None:
    with pytest.raises(Refused) as refusal:
        HttpSettings("http://localhost", **change)
    assert refusal.value.status is Status.BAD_REQUEST
