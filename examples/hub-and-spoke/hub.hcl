# The hub: it takes all writes, and says which edge has what.
node_id  = "hub"
data_dir = "${env("DATA", "data")}/hub"

listener "http" { address = "127.0.0.1:4500" }

listener "grpc" {
  address = "127.0.0.1:4501" # what edges dial
  tls {
    ca_file             = "${env("DATA", "data")}/ca.crt"
    cert_file           = "${env("DATA", "data")}/hub.crt"
    key_file            = "${env("DATA", "data")}/hub.key"
    require_client_cert = true # an edge is who that says
  }
}

namespace "prices" {
  replicate { selector = { kind = "shop" } } # later ones, too
}

namespace "stock" {
  replicate { selector = { kind = "warehouse" } }
}

namespace "offers" {} # to nobody, until it is assigned
