# A store in the west.
node_id  = "west-store"
region   = "west"
data_dir = "${env("DATA", "data")}/west-store"

listener "http" { address = "127.0.0.1:4210" }
listener "grpc" { address = "127.0.0.1:4211" }

relayer {
  labels = { region = "west" }
  upstream "hub" {
    addresses = ["127.0.0.1:4201", "127.0.0.1:4101"]
  }
}
