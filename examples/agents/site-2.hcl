# A relayer beside the rest of the agents.
node_id  = "site-2"
data_dir = "${env("DATA")}/site-2"

listener "http" { address = "127.0.0.1:5020" }

relayer {
  upstream "hub" {
    addresses  = ["127.0.0.1:5001"]
    namespaces = ["board"]
  }
}
