package plugin

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// SchemaOf makes a schema of a struct that holds the defaults, or of nil, which
// takes nothing. The struct is the only place where an argument is described:
//
//	type config struct {
//		URL     string            `config:"url,required" doc:"where events are sent to"`
//		Secret  string            `config:"secret,sensitive"`
//		Format  string            `config:"format" oneof:"json,text"`
//		Tries   int               `config:"tries" min:"1" max:"10"`
//		Timeout time.Duration     `config:"timeout" min:"1ms"`
//		Buffer  plugin.Size       `config:"buffer"`
//		Topics  []string          `config:"topics"`
//		Headers map[string]string `config:"headers"`
//		TLS     *tlsConfig        `config:"tls" doc:"a block"`
//	}
//
// A field may be a string, a bool, an integer, a float, a time.Duration, a Size,
// a []string, a map[string]string, or a block: a struct, or a pointer to one,
// which stays nil where the block is absent. An embedded struct's fields count as
// the outer one's. An error is a mistake in the program.
func SchemaOf(defaults any) (*pluginv1.Schema, error) {
	if defaults == nil {
		return &pluginv1.Schema{}, nil
	}
	v := reflect.ValueOf(defaults)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("the configuration is a %T: use a struct", defaults)
	}
	return schemaOf(v)
}

func schemaOf(v reflect.Value) (*pluginv1.Schema, error) {
	fields, err := fieldsOf(v)
	if err != nil {
		return nil, err
	}
	schema := &pluginv1.Schema{}
	for _, f := range fields {
		if f.block == nil {
			schema.Attributes = append(schema.Attributes, f.attribute)
			continue
		}
		inner, err := schemaOf(f.blockValue())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		f.block.Schema = inner
		schema.Blocks = append(schema.Blocks, f.block)
	}
	return schema, nil
}

// field is a struct's field with what its tags say: an attribute or a block.
type field struct {
	name      string
	value     reflect.Value
	attribute *pluginv1.Attribute
	block     *pluginv1.Block
}

// blockValue is the struct of a block, a zero one where the pointer is nil.
func (f field) blockValue() reflect.Value {
	if f.value.Kind() != reflect.Pointer {
		return f.value
	}
	if f.value.IsNil() {
		return reflect.New(f.value.Type().Elem()).Elem()
	}
	return f.value.Elem()
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// fieldsOf reads the tags of a struct.
func fieldsOf(v reflect.Value) ([]field, error) {
	var fields []field
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		more, err := fieldOf(sf, v.Field(i))
		if err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", sf.Name, v.Type(), err)
		}
		fields = append(fields, more...)
	}
	seen := map[string]bool{}
	for _, f := range fields {
		if seen[f.name] {
			return nil, fmt.Errorf("%s has two fields named %q", v.Type(), f.name)
		}
		seen[f.name] = true
	}
	return fields, nil
}

func fieldOf(sf reflect.StructField, v reflect.Value) ([]field, error) {
	tag, tagged := sf.Tag.Lookup("config")
	switch {
	case sf.Anonymous && !tagged && sf.Type.Kind() == reflect.Struct:
		return fieldsOf(v)
	case !tagged && !sf.IsExported():
		return nil, nil // the author's own
	case !tagged:
		return nil, fmt.Errorf(`it has no config tag: write config:"name", or config:"-" to leave it out`)
	case tag == "-":
		return nil, nil
	case !sf.IsExported():
		return nil, fmt.Errorf("it has a config tag and must be exported")
	}
	name, options, _ := strings.Cut(tag, ",")
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("%q is no name of an argument: use lower-case letters, digits and underscores", name)
	}
	f := field{name: name, value: v}
	var err error
	if isBlock(sf.Type) {
		f.block, err = blockOf(name, options, sf.Tag)
	} else {
		f.attribute, err = attributeOf(name, options, sf.Tag, v)
	}
	return []field{f}, err
}

func isBlock(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}

func blockOf(name, options string, tag reflect.StructTag) (*pluginv1.Block, error) {
	b := &pluginv1.Block{Name: name, Description: tag.Get("doc")}
	for _, option := range splitList(options) {
		if option != "required" {
			return nil, fmt.Errorf("%q is no option of a block: there is only required", option)
		}
		b.Required = true
	}
	return b, nil
}

func attributeOf(name, options string, tag reflect.StructTag, v reflect.Value) (*pluginv1.Attribute, error) {
	kind, err := typeOf(v.Type())
	if err != nil {
		return nil, err
	}
	a := &pluginv1.Attribute{Name: name, Type: kind, Description: tag.Get("doc")}
	for _, option := range splitList(options) {
		switch option {
		case "required":
			a.Required = true
		case "sensitive":
			a.Sensitive = true
		default:
			return nil, fmt.Errorf("%q is no option of an argument: there are required and sensitive", option)
		}
	}
	if a.OneOf, err = oneOf(kind, tag); err != nil {
		return nil, err
	}
	if a.Minimum, err = bound(kind, tag, "min"); err != nil {
		return nil, err
	}
	if a.Maximum, err = bound(kind, tag, "max"); err != nil {
		return nil, err
	}
	if !a.Required && !a.Sensitive {
		a.DefaultValue = defaultOf(v)
	}
	return a, nil
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
)

func typeOf(t reflect.Type) (pluginv1.Attribute_Type, error) {
	switch t {
	case durationType:
		return pluginv1.Attribute_TYPE_DURATION, nil
	case sizeType:
		return pluginv1.Attribute_TYPE_SIZE, nil
	}
	switch t.Kind() {
	case reflect.String:
		return pluginv1.Attribute_TYPE_STRING, nil
	case reflect.Bool:
		return pluginv1.Attribute_TYPE_BOOL, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return pluginv1.Attribute_TYPE_INTEGER, nil
	case reflect.Float32, reflect.Float64:
		return pluginv1.Attribute_TYPE_NUMBER, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return pluginv1.Attribute_TYPE_STRING_LIST, nil
		}
	case reflect.Map:
		if t.Key().Kind() == reflect.String && t.Elem().Kind() == reflect.String {
			return pluginv1.Attribute_TYPE_STRING_MAP, nil
		}
	}
	return 0, fmt.Errorf("an argument can't be a %s: see SchemaOf", t)
}

func oneOf(kind pluginv1.Attribute_Type, tag reflect.StructTag) ([]string, error) {
	list, ok := tag.Lookup("oneof")
	if !ok {
		return nil, nil
	}
	if kind != pluginv1.Attribute_TYPE_STRING {
		return nil, fmt.Errorf("oneof is for strings")
	}
	return splitList(list), nil
}

// bound reads a min or max tag: a number, or a duration where the argument is one.
func bound(kind pluginv1.Attribute_Type, tag reflect.StructTag, name string) (*float64, error) {
	text, ok := tag.Lookup(name)
	if !ok {
		return nil, nil
	}
	switch kind {
	case pluginv1.Attribute_TYPE_INTEGER, pluginv1.Attribute_TYPE_NUMBER:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%s:%q is no number", name, text)
		}
		return &n, nil
	case pluginv1.Attribute_TYPE_DURATION:
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%q is no duration", name, text)
		}
		seconds := d.Seconds()
		return &seconds, nil
	default:
		return nil, fmt.Errorf("%s is for integers, numbers and durations", name)
	}
}

// defaultOf is a default as it would stand in a configuration, without quotes.
func defaultOf(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		list := make([]string, v.Len())
		for i := range list {
			list[i] = v.Index(i).String()
		}
		return strings.Join(list, ", ")
	case reflect.Map:
		var list []string
		for key, value := range v.Seq2() {
			list = append(list, key.String()+" = "+value.String())
		}
		slices.Sort(list)
		return strings.Join(list, ", ")
	default:
		return fmt.Sprint(v.Interface())
	}
}

// splitList splits at commas, and makes nothing of nothing.
func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
