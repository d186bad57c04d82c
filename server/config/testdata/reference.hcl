node_id      = "hub-us-east"               # default: the host name
region       = "us-east"
data_dir     = "/var/lib/unisondb"         # required unless -dev
plugin_dir   = "/usr/lib/unisondb/plugins" # default: "plugins" beside the executable
memory_limit = "1GiB"                      # memtables and buffers of the whole node; default: half of the cgroup's or machine's

log {
  level  = "info"
  format = "text"                          # or "json"
}

listener "http" { address = "127.0.0.1:4000" }

listener "grpc" {
  address   = "0.0.0.0:4001"
  advertise = "hub-us-east.example.com:4001"   # what other nodes dial; default: address, where it is no wildcard
  tls {
    cert_file           = "hub.crt"
    key_file            = "hub.key"
    ca_file             = "ca.crt"
    require_client_cert = true
  }
}

listener "redis" {                         # off unless configured
  address   = "127.0.0.1:6380"
  namespace = "default"
}

storage {                                  # defaults for every namespace
  engine         = "lmdb"                  # the B+tree: "lmdb" or "bolt"
  segment_size   = "16MiB"                 # of the log, at most; young namespaces have smaller ones
  memtable_size  = "64MiB"
  sync           = "always"                # fsync before acknowledging, by group commit; or "interval"
  sync_interval  = "10ms"                  # with sync = "interval"
  flush_interval = "0s"                    # 0: when the memtable is full, or at a mark
  map_size       = "1GiB"                  # LMDB; grows by itself before it is full
  history        = "0s"                    # how far back as_of reads reach; 0 keeps no old versions
  retention {                              # of the log behind the checkpoint
    max_age       = "24h"
    max_bytes     = "4GiB"
    min_segments  = 2
    pin_max_age   = "24h"                  # how long a follower or notifier may hold it
    pin_max_bytes = "4GiB"
  }
}

replication {
  compression               = "zstd"       # or "none"
  snapshot_bytes_per_second = "0"          # 0: no cap
  follower_bytes_per_second = "0"
}

namespace "default" {}

namespace "inventory" {
  acks = "local"                           # or "quorum", or a number of hubs of the replica set, the owner included
  storage {
    retention { max_age = "168h" }
  }
  quota {
    max_bytes              = "10GiB"
    write_bytes_per_second = "20MiB"
  }
  replicate {
    relayers = ["edge-*"]
    selector = { region = "eu" }
    hubs     = ["*"]
  }
  notifier "zeromq" {
    bind_port       = 5555
    high_water_mark = 10000
    linger_time     = "1s"
    max_delay       = "0ms"
  }
}

notifier "webhook" "orders" {              # type, name: one plugin process, one or more namespaces
  namespaces = ["orders"]
  run_on     = "owner"                     # or "every" node that has the namespace

  latest_per_key = true
  start_from     = "oldest"
  restart_from   = "snapshot"
  max_refusals   = 5
  max_batch      = 500
  memory_limit   = "256MiB"
  sha256         = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
  version        = "1.4.2"
  filter {
    prefix      = "order:"
    operations  = ["put", "delete"]
    entry_types = ["kv"]
  }
  config {
    url    = "https://example.com/hook"
    secret = env("HOOK_SECRET")
  }
}

model "vector" {                           # a data-model extension
  namespaces   = ["embeddings"]
  memory_limit = "1GiB"
  config {}
}

raft {                                     # a hub's control plane
  address          = "127.0.0.1:4002"
  advertise        = "127.0.0.1:4002"      # as in a listener
  bootstrap_expect = 1                     # 3 for a group of three
  join             = ["hub-eu:4001"]       # the gRPC address of any other hub
  voter            = true                  # false for a far hub
}

relayer {                                  # `unisondb relayer`
  labels = { region = "eu", tier = "store" }
  own "edge-17-insights" {}
  upstream "hub" {                         # repeat the block to follow several upstreams
    addresses  = ["hub-a:4001", "hub-b:4001"]   # tried in order, with failover
    namespaces = ["default", "inventory"]       # left out: what the control plane assigns
    tls {
      ca_file   = "ca.crt"
      cert_file = "edge.crt"
      key_file  = "edge.key"
    }
  }
}

acl { enabled = true }

telemetry {
  prometheus    = true
  otlp_endpoint = ""
}
