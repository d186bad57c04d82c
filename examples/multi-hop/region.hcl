# A relayer for a region: it follows the hub, and others follow it.
node_id  = "region"
data_dir = "${env("DATA", "data")}/region"

listener "http" { address = "127.0.0.1:4610" }
listener "grpc" { address = "127.0.0.1:4611" } # the edges dial it

relayer {
  upstream "hub" {
    addresses  = ["127.0.0.1:4601"]
    namespaces = ["catalog"]
  }
}
