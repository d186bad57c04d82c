# A hub that posts every change of the orders to the service.
node_id  = "hub"
data_dir = "${env("DATA")}/hub"

listener "http" { address = "127.0.0.1:5100" }
listener "grpc" { address = "127.0.0.1:5101" }

namespace "orders" {}

notifier "webhook" "shipping" {
  namespaces = ["orders"]
  filter {
    prefix = "order/"
  }
  config {
    url    = "http://127.0.0.1:5105/hook"
    secret = env("HOOK_SECRET")
  }
}
