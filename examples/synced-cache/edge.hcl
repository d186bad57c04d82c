# The relayer beside the application: its copy is what the cache reads, its notifier what the cache hears.
node_id  = "edge"
data_dir = "${env("DATA")}/edge"

listener "http" { address = "127.0.0.1:5210" }

relayer {
  upstream "hub" {
    addresses  = ["127.0.0.1:5201"]
    namespaces = ["catalog"]
  }
}

namespace "catalog" {
  notifier "zeromq" {
    bind_port       = 5215
    high_water_mark = 1000 # low, so that a subscriber that stands still loses messages soon
  }
}
