# A relayer that follows both hubs, each for what it owns. It reaches them by lines of its own.
node_id  = "edge"
data_dir = "${env("DATA")}/edge"

listener "http" { address = "127.0.0.1:4920" }

relayer {
  upstream "east" {
    addresses  = ["127.0.0.1:4901"]
    namespaces = ["crdt-east"]
  }
  upstream "west" {
    addresses  = ["127.0.0.1:4911"]
    namespaces = ["crdt-west"]
  }
}

# One PUB socket for each namespace.
namespace "crdt-east" {
  notifier "zeromq" {
    bind_port = 4925
  }
}
namespace "crdt-west" {
  notifier "zeromq" {
    bind_port = 4926
  }
}
