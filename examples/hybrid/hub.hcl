# The hub: orders come in here, and a webhook tells billing.
node_id  = "hub"
data_dir = "${env("DATA", "data")}/hub"

listener "http" { address = "127.0.0.1:4700" }
listener "grpc" { address = "127.0.0.1:4701" }

namespace "orders" {
  replicate { relayers = ["*"] }
}

notifier "webhook" "billing" {
  namespaces = ["orders"]
  config {
    url    = "http://127.0.0.1:4720/orders"
    secret = env("HOOK_SECRET") # signs each request
  }
}
