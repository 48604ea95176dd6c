"""Every default of the client.

The lengths, in tokens, are those of the Hugging Face `question-answering` pipeline; those that
begin with `SQUAD_` are those of the standard SQuAD post-processing.
"""

from typing import Final

MAX_SEQ_LEN: Final = 384
DOC_STRIDE: Final = 128
MAX_QUESTION_LEN: Final = 64
MAX_ANSWER_LEN: Final = 15
TOP_K: Final = 5

SQUAD_N_BEST: Final = 20
SQUAD_MAX_ANSWER_LEN: Final = 30

# OpenVINO compiles kernels anew for every length it meets: few lengths are met soon.
LENGTH_MULTIPLE: Final = 32
# Tokens, padding included, that go into one request.
TOKEN_BUDGET: Final = 2048
# Requests that a client has on their way at most, and those that it begins with.
REQUESTS_IN_FLIGHT: Final = 64
REQUESTS_AT_FIRST: Final = 4
# While requests take less of their timeout than this, more are sent at once.
SOON_PART_OF_TIMEOUT: Final = 0.1
# Windows that `answer_many` reads ahead to sort them by length.
LOOK_AHEAD: Final = 512
# Contexts whose tokens are kept, and the characters that they have together at most.
CONTEXTS_CACHED: Final = 8
CHARACTERS_CACHED: Final = 16_000_000
# Characters above which a text is tokenised in pieces, in a thread of its own.
LONG_TEXT: Final = 4_000
# Long texts that a client works on at once, each in a thread.
TEXTS_AT_ONCE: Final = 4
# Copies for the shadow version that wait to be sent; more are left out.
SHADOWS_WAITING: Final = 64

TIMEOUT_SECONDS: Final = 30.0
# In this process nothing is lost on the way: a request only waits for the processor.
LOCAL_TIMEOUT_SECONDS: Final = 600.0
# How old the split may be that traffic="auto" goes by, how long reading it may take, and after how
# long without a question it is not read any more.
FOLLOW_SECONDS: Final = 1.0
FOLLOW_TIMEOUT_SECONDS: Final = 1.0
FOLLOW_IDLE_SECONDS: Final = 30.0
MODEL_NAME: Final = "bert-qa"
GRPC_PORT: Final = 9000
REST_PORT: Final = 8000
# A gRPC address learns the model over REST at its own port less this.
REST_PORT_BELOW_GRPC: Final = GRPC_PORT - REST_PORT

REST_CONNECTIONS: Final = 64
ATTEMPTS: Final = 5
BACKOFF_SECONDS: Final = 0.1
BACKOFF_FACTOR: Final = 2
BACKOFF_LIMIT_SECONDS: Final = 2.0
RECONNECT_SECONDS: Final = 2.0
# How long one attempt to connect over gRPC may take: a far server, with TLS, needs several ways.
CONNECT_SECONDS: Final = 5.0
# Pings go out only while calls wait. A gRPC server with its own defaults ends a connection that
# pings more often than every 300 s (GOAWAY too_many_pings).
KEEPALIVE_SECONDS: Final = 360.0
KEEPALIVE_TIMEOUT_SECONDS: Final = 20.0
# A name that stands for several servers is resolved this often.
RESOLVE_SECONDS: Final = 30.0
# After so long without a call it is resolved before the next one, which waits so long at most.
RESOLVE_AFTER_REST_SECONDS: Final = 5.0
RESOLVE_PATIENCE_SECONDS: Final = 1.0
# How long a call to one of them is silent before it is probed whether it answers at all, how long
# the probe may take, and how long a server that failed is left alone.
SILENT_SECONDS: Final = 3.0
PROBE_SECONDS: Final = 2.0
EJECTION_SECONDS: Final = 1.0
EJECTION_LIMIT_SECONDS: Final = 30.0
# Behind one address servers may have different versions. How often a version is looked for over new
# connections, how often where it was missed so shortly before or is not ready, and the pause.
SEARCHES: Final = 100
SEARCHES_IN_DOUBT: Final = 3
SEARCH_AGAIN_SECONDS: Final = 5.0
SEARCH_PAUSE_SECONDS: Final = 0.01
# No answer of a QA model is near this, so that a wrong server cannot fill the memory.
RESPONSE_LIMIT_BYTES: Final = 256 * 1024 * 1024
