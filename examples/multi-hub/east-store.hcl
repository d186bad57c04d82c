# A store in the east. The hubs say which namespaces it gets.
node_id  = "east-store"
region   = "east"
data_dir = "${env("DATA", "data")}/east-store"

listener "http" { address = "127.0.0.1:4110" }
listener "grpc" { address = "127.0.0.1:4111" } # for relayers

relayer {
  labels = { region = "east" }
  upstream "hub" {
    # Its own hub first, the far one when that is away.
    addresses = ["127.0.0.1:4101", "127.0.0.1:4201"]
  }
}
