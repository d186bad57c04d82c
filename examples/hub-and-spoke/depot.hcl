# The warehouse: it names no namespaces either.
node_id  = "depot"
data_dir = "${env("DATA", "data")}/depot"

listener "http" { address = "127.0.0.1:4530" }

relayer {
  labels = { kind = "warehouse" }
  upstream "hub" {
    addresses = ["127.0.0.1:4501"]
    tls {
      ca_file   = "${env("DATA", "data")}/ca.crt"
      cert_file = "${env("DATA", "data")}/depot.crt"
      key_file  = "${env("DATA", "data")}/depot.key"
    }
  }
}
