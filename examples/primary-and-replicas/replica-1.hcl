# A read replica: it names the namespace that it follows.
node_id  = "replica-1"
data_dir = "${env("DATA", "data")}/replica-1"

listener "http" { address = "127.0.0.1:4410" }

relayer {
  upstream "primary" {
    addresses  = ["127.0.0.1:4401"]
    namespaces = ["accounts"]
  }
}
