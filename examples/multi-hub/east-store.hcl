# A store in the east. It names no namespaces: the hubs say what it gets.
node_id  = "east-store"
region   = "east"
data_dir = "${env("MULTI_HUB_DATA", "multi-hub-data")}/east-store"

listener "http" { address = "127.0.0.1:4110" }
listener "grpc" { address = "127.0.0.1:4111" } # other relayers may follow it

relayer {
  labels = { region = "east" }
  upstream "hub" {
    addresses = ["127.0.0.1:4101", "127.0.0.1:4201"] # its own hub first, the far one when that is away
  }
}
