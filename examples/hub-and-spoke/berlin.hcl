# A shop: it names no namespaces, and gets what its labels ask for.
node_id  = "berlin"
data_dir = "${env("DATA", "data")}/berlin"

listener "http" { address = "127.0.0.1:4510" }

relayer {
  labels = { kind = "shop", city = "berlin" }
  upstream "hub" {
    addresses = ["127.0.0.1:4501"]
    tls {
      ca_file   = "${env("DATA", "data")}/ca.crt"
      cert_file = "${env("DATA", "data")}/berlin.crt"
      key_file  = "${env("DATA", "data")}/berlin.key"
    }
  }
}
