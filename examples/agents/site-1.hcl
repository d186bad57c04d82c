# A relayer beside some of the agents.
node_id  = "site-1"
data_dir = "${env("DATA")}/site-1"

listener "http" { address = "127.0.0.1:5010" }

relayer {
  upstream "hub" {
    addresses  = ["127.0.0.1:5001"]
    namespaces = ["board"]
  }
}
