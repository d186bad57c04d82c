# A shop: it names no namespaces, and gets what its labels ask for.
node_id  = "munich"
data_dir = "${env("DATA", "data")}/munich"

listener "http" { address = "127.0.0.1:4520" }

relayer {
  labels = { kind = "shop", city = "munich" }
  upstream "hub" {
    addresses = ["127.0.0.1:4501"]
    tls {
      ca_file   = "${env("DATA", "data")}/ca.crt"
      cert_file = "${env("DATA", "data")}/munich.crt"
      key_file  = "${env("DATA", "data")}/munich.key"
    }
  }
}
