# The primary: it takes all writes.
node_id  = "primary"
data_dir = "${env("DATA", "data")}/primary"

listener "http" { address = "127.0.0.1:4400" }
listener "grpc" { address = "127.0.0.1:4401" } # replicas dial it

namespace "accounts" {}
