# A read replica: it names the namespace that it follows.
node_id  = "replica-2"
data_dir = "${env("DATA", "data")}/replica-2"

listener "http" { address = "127.0.0.1:4420" }

relayer {
  upstream "primary" {
    addresses  = ["127.0.0.1:4401"]
    namespaces = ["accounts"]
  }
}
