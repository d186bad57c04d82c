package datamodel

import (
	"context"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Key is a data model's name in go-plugin's sets.
const Key = "datamodel"

// Client is a data model as the node sees it.
type Client struct {
	pluginv1.PluginClient
	pluginv1.DataModelClient
	// Broker is where the node serves View before it calls Configure.
	Broker *goplugin.GRPCBroker
}

// PluginSets are the versions that a node speaks with data models: Dispense(Key)
// then gives a *Client.
func PluginSets() map[int]goplugin.PluginSet {
	return map[int]goplugin.PluginSet{plugin.Version1: {Key: dispenser{}}}
}

// dispenser is the node's side of go-plugin's GRPCPlugin.
type dispenser struct {
	goplugin.NetRPCUnsupportedPlugin
}

// GRPCServer implements goplugin.GRPCPlugin, whose other side is the plugin's.
func (dispenser) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return plugin.ErrWrongSide
}

// GRPCClient implements goplugin.GRPCPlugin.
func (dispenser) GRPCClient(_ context.Context, b *goplugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return &Client{pluginv1.NewPluginClient(c), pluginv1.NewDataModelClient(c), b}, nil
}
