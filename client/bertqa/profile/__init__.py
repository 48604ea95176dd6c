"""Where the time of served questions goes: by phases, by operations of the graph, and alone."""

from bertqa.profile._alone import Alone, text_of, time_alone
from bertqa.profile._operations import BETWEEN, Operations, OperationTime, compiled_as_served
from bertqa.profile._page import profile_page
from bertqa.profile._phases import Profile, profile
from bertqa.profile._requests import Asked, ask
from bertqa.profile._server_times import ServerTimes, server_times
from bertqa.profile._span import TimeSpan

__all__ = [
    "BETWEEN",
    "Alone",
    "Asked",
    "OperationTime",
    "Operations",
    "Profile",
    "ServerTimes",
    "TimeSpan",
    "ask",
    "compiled_as_served",
    "profile",
    "profile_page",
    "server_times",
    "text_of",
    "time_alone",
]
