# An edge: it follows the region, and the hub where that is away.
node_id  = "edge-1"
data_dir = "${env("DATA", "data")}/edge-1"

listener "http" { address = "127.0.0.1:4620" }

relayer {
  upstream "region" {
    addresses  = ["127.0.0.1:4611", "127.0.0.1:4601"] # in order
    namespaces = ["catalog"]
  }
}
