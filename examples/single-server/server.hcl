# One hub, which nobody follows yet.
node_id  = "server"
data_dir = "${env("DATA", "data")}/server"

listener "http" { address = "127.0.0.1:4300" }
listener "grpc" { address = "127.0.0.1:4301" } # for relayers

namespace "shop" {}
