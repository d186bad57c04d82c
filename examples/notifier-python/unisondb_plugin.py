"""What a notifier in Python needs to be a plugin of UnisonDB.

A plugin is a gRPC server on a private socket. The node starts it with a cookie
and a certificate in its environment, reads one line from its standard output
that says where it listens, and takes JSON lines from its standard error into its
own log. The services are those of sdk/proto/plugin/v1/plugin.proto; plugin.binpb
is that file as `protoc --descriptor_set_out` compiles it, so that no code has to
be generated.
"""

import base64
import datetime
import json
import os
import signal
import sys
import tempfile
import threading
from concurrent import futures

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# The cookie and the versions are constants of sdk/plugin.
COOKIE, COOKIE_VALUE = "UNISONDB_PLUGIN", "unisondb"
PROTOCOL_VERSION = 1
MAX_MESSAGE_SIZE = 80 << 20

_PACKAGE = "unisondb.plugin.v1"


def _load():
    from google.protobuf import duration_pb2  # noqa: F401: plugin.proto imports it

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugin.binpb")
    with open(path, "rb") as f:
        files = descriptor_pb2.FileDescriptorSet.FromString(f.read())
    pool = descriptor_pool.Default()
    for file in files.file:
        pool.Add(file)
    return pool


_pool = _load()


def message(name):
    """The class of a message of plugin.proto."""
    descriptor = _pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(_pool).GetPrototype(descriptor)


Describe = message("DescribeResponse")
Schema = message("Schema")
Attribute = message("Attribute")
Block = message("Block")
Rejection = message("Rejection")
NOTIFIER = 1  # KIND_NOTIFIER

OPERATIONS = {1: "put", 2: "delete", 3: "delete_row", 4: "expire", 5: "reset"}


def log(level, text, **facts):
    """Writes a line into the node's log."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    line = {"@level": level, "@message": text, "@timestamp": now, **facts}
    print(json.dumps(line, default=str), file=sys.stderr, flush=True)


def message_json(batch, event):
    """An event as all notifiers send it."""
    m = {}
    if event.key:
        try:
            m["key"] = event.key.decode()
        except UnicodeDecodeError:
            m["key_base64"] = base64.b64encode(event.key).decode()
    m["namespace"] = batch.namespace
    m["operation"] = OPERATIONS.get(event.operation, f"operation_{event.operation}")
    if event.entry_type:
        m["entry_type"] = event.entry_type
    m.update(seq_num=event.lsn, lsn=event.lsn, epoch=event.epoch)
    m.update(index=event.index, count=event.count, lineage=batch.lineage)
    seconds, nanos = divmod(event.time_unix_nano, 10**9)
    time = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    m["timestamp"] = f"{time:%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
    if event.columns:
        m["columns"] = list(event.columns)
    return json.dumps(m, ensure_ascii=False, separators=(",", ":"))


class _Services:
    """The services Plugin and Notifier, and go-plugin's GRPCController."""

    def __init__(self, describe, notifier, stop):
        self.describe, self.notifier, self.stop = describe, notifier, stop
        self.lock = threading.Condition()
        self.configured = False  # and ready for batches
        self.running = 0  # calls of Notify

    def Describe(self, request, context):
        return self.describe

    def Configure(self, request, context):
        problems = self.notifier.configure(json.loads(request.config or b"{}"))
        answer = message("ConfigureResponse")()
        for path, text in problems:
            answer.problems.add(path=path, message=text)
        with self.lock:
            self.configured = not problems
        return answer

    def Notify(self, request, context):
        with self.lock:
            ready = self.configured
            self.running += ready
        if not ready:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the plugin isn't configured, or is being stopped")
        try:
            rejected = self.notifier.notify(request)
            return message("NotifyResponse")(rejected=rejected)
        except Exception as e:
            log("error", "notify failed", error=e)
            context.abort(grpc.StatusCode.UNAVAILABLE, str(e))
        finally:
            with self.lock:
                self.running -= 1
                self.lock.notify_all()

    def Drain(self, request, context):
        with self.lock:
            close, self.configured = self.configured, False
            done = self.lock.wait_for(lambda: self.running == 0, context.time_remaining())
        if not done:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "batches are still under way")
        if close:
            self.notifier.close()
        return message("DrainResponse")()

    def shutdown(self, request, context):
        self.stop.set()
        return b""

    def health(self, request, context):
        return b"\x08\x01"  # status: SERVING

    def add_to(self, server):
        """Registers all methods, with the messages that plugin.proto names."""
        for name in ("Plugin", "Notifier"):
            service = _pool.FindServiceByName(f"{_PACKAGE}.{name}")
            handlers = {}
            for method in service.methods:
                handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                    getattr(self, method.name),
                    request_deserializer=message(method.input_type.name).FromString,
                    response_serializer=message(method.output_type.name).SerializeToString,
                )
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
        for service, method, answer in (
            ("plugin.GRPCController", "Shutdown", self.shutdown),
            ("grpc.health.v1.Health", "Check", self.health),
        ):
            handler = grpc.unary_unary_rpc_method_handler(answer)  # bytes in, bytes out
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))


def _certificate():
    """A key and a certificate for this process alone, as PEM, PEM and DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.utcnow()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding
    key_pem = key.private_bytes(encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key_pem, certificate.public_bytes(encoding.PEM), certificate.public_bytes(encoding.DER)


def serve(describe, notifier):
    """The life of a notifier's process. It returns when the node has hung up."""
    if os.environ.get(COOKIE) != COOKIE_VALUE:
        program = os.path.basename(sys.argv[0])
        print(f"{program} is a plugin of UnisonDB: copy it to the node's plugin_dir and name it in a notifier block.", file=sys.stderr)
        sys.exit(2)
    versions = os.environ.get("PLUGIN_PROTOCOL_VERSIONS", str(PROTOCOL_VERSION)).split(",")
    if str(PROTOCOL_VERSION) not in versions:
        log("error", "the node speaks no version of the protocol that this plugin speaks", node=versions)
    # When a plugin ends is the node's decision, which drains it first.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    parent = os.getppid()

    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=16),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_SIZE),
            ("grpc.max_send_message_length", MAX_MESSAGE_SIZE),
        ],
    )
    stop = threading.Event()
    _Services(describe, notifier, stop).add_to(server)
    # The node takes no other folder than the one that it made.
    folder = os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or tempfile.mkdtemp()
    socket = os.path.join(folder, f"python-{os.getpid()}")
    client, shown = os.environ.get("PLUGIN_CLIENT_CERT"), ""
    if client:
        key, certificate, der = _certificate()
        credentials = grpc.ssl_server_credentials([(key, certificate)], client.encode(), require_client_auth=True)
        server.add_secure_port("unix:" + socket, credentials)
        shown = base64.b64encode(der).decode().rstrip("=")
    else:
        server.add_insecure_port("unix:" + socket)
    server.start()
    print(f"1|{PROTOCOL_VERSION}|unix|{socket}|grpc|{shown}", flush=True)

    while not stop.wait(0.5):
        if os.getppid() != parent:
            os._exit(1)  # the node is gone, and what it didn't hear of comes again
    server.stop(grace=1).wait()
