# A hub in a container. What reaches its ports is decided by who publishes them: there is no TLS here, so
# publish them on loopback or to a network of containers alone.
data_dir = "/var/lib/unisondb"

listener "http" {
  address  = "0.0.0.0:4000"
  insecure = true
}

listener "grpc" {
  address   = "0.0.0.0:4001"
  advertise = "hub:4001" # as other containers find it
  insecure  = true
}

namespace "default" {}
