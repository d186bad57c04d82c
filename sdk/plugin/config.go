package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"time"

	"github.com/hashicorp/go-hclog"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// Config is a configuration that the node hands over.
type Config struct {
	// Name is the configuration block's: where several programs of one type run, it
	// tells them apart.
	Name string
	// NodeID is the node's.
	NodeID string
	// Namespaces are those that the block names.
	Namespaces []string
	// Logger writes into the node's log.
	Logger hclog.Logger

	raw []byte // a JSON object
}

// NewConfig makes a configuration of its arguments, for tests of a plugin: a map,
// or anything else that encodes to a JSON object.
func NewConfig(name string, arguments any) (Config, error) {
	raw, err := json.Marshal(arguments)
	if err != nil {
		return Config{}, fmt.Errorf("encode the arguments: %w", err)
	}
	return Config{Name: name, Logger: hclog.NewNullLogger(), raw: raw}, nil
}

// ConfigOf reads what the node sent.
func ConfigOf(r *pluginv1.ConfigureRequest, logger hclog.Logger) Config {
	return Config{
		Name: r.GetName(), NodeID: r.GetNodeId(), Namespaces: r.GetNamespaces(),
		Logger: logger, raw: r.GetConfig(),
	}
}

// Decode sets the fields of a struct, as SchemaOf describes it, to what the
// configuration says, and leaves the others: whoever calls it puts the defaults
// there. An error is of type Problems where the configuration is to blame.
func (c Config) Decode(target any) error {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("decode the configuration into a %T: use a pointer to a struct", target)
	}
	schema, err := schemaOf(v.Elem())
	if err != nil {
		return err
	}
	arguments, err := c.arguments()
	if err != nil {
		return err
	}
	if problems := Check(schema, arguments); len(problems) > 0 {
		return problems
	}
	if problems := assign(v.Elem(), arguments, ""); len(problems) > 0 {
		return problems
	}
	return nil
}

func (c Config) arguments() (map[string]any, error) {
	if len(c.raw) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(c.raw))
	d.UseNumber()
	var arguments map[string]any
	if err := d.Decode(&arguments); err != nil {
		return nil, Problems{{Message: fmt.Sprintf("the node sent no JSON object: %v", err)}}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, Problems{{Message: "the node sent more than a JSON object"}}
	}
	return arguments, nil
}

// assign sets the fields that arguments name, which were checked.
func assign(v reflect.Value, arguments map[string]any, prefix string) Problems {
	fields, err := fieldsOf(v)
	if err != nil { // the schema was made of it
		return Problems{{Message: err.Error()}}
	}
	var problems Problems
	for _, f := range fields {
		value, ok := arguments[f.name]
		if !ok || value == nil {
			continue
		}
		path := prefix + f.name
		if f.block != nil {
			problems = append(problems, assignBlock(f.value, value, path)...)
		} else if err := assignValue(f, value); err != nil {
			problems = append(problems, Problem{Path: path, Message: err.Error()})
		}
	}
	return problems
}

func assignBlock(v reflect.Value, value any, path string) Problems {
	if v.Kind() == reflect.Pointer {
		fresh := reflect.New(v.Type().Elem()) // the old one may be the defaults'
		if !v.IsNil() {
			fresh.Elem().Set(v.Elem())
		}
		v.Set(fresh)
		v = fresh.Elem()
	}
	inner, _ := value.(map[string]any)
	return assign(v, inner, path+".")
}

func assignValue(f field, value any) error {
	v := f.value
	switch f.attribute.GetType() {
	case pluginv1.Attribute_TYPE_STRING:
		s, _ := value.(string)
		v.SetString(s)
	case pluginv1.Attribute_TYPE_BOOL:
		b, _ := value.(bool)
		v.SetBool(b)
	case pluginv1.Attribute_TYPE_INTEGER:
		r, _ := rational(value)
		return assignInteger(v, r.Num())
	case pluginv1.Attribute_TYPE_NUMBER:
		r, _ := rational(value)
		n, _ := r.Float64()
		v.SetFloat(n)
	case pluginv1.Attribute_TYPE_DURATION:
		s, _ := value.(string)
		d, err := time.ParseDuration(s)
		v.SetInt(int64(d))
		return err
	case pluginv1.Attribute_TYPE_SIZE:
		s, _ := value.(string)
		n, err := ParseSize(s)
		v.SetInt(int64(n))
		return err
	case pluginv1.Attribute_TYPE_STRING_LIST:
		list, _ := stringList(value)
		assignList(v, list)
	default:
		m, _ := stringMap(value)
		assignMap(v, m)
	}
	return nil
}

func assignInteger(v reflect.Value, n *big.Int) error {
	switch {
	case v.CanInt() && n.IsInt64() && !v.OverflowInt(n.Int64()):
		v.SetInt(n.Int64())
	case v.CanUint() && n.IsUint64() && !v.OverflowUint(n.Uint64()):
		v.SetUint(n.Uint64())
	default:
		return fmt.Errorf("the number is out of range: use one that fits %s", v.Kind())
	}
	return nil
}

func assignList(v reflect.Value, list []string) {
	s := reflect.MakeSlice(v.Type(), len(list), len(list))
	for i, text := range list {
		s.Index(i).SetString(text)
	}
	v.Set(s)
}

func assignMap(v reflect.Value, m map[string]string) {
	target := reflect.MakeMapWithSize(v.Type(), len(m))
	for key, text := range m {
		target.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), reflect.ValueOf(text).Convert(v.Type().Elem()))
	}
	v.Set(target)
}
