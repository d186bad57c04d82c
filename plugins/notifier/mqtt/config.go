package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/unisondb/unisondb/sdk/plugin"
)

const defaultTopic = "unisondb/{{namespace}}/{{entry_type}}/{{key}}"

// config is the config block.
type config struct {
	Broker   string     `config:"broker,required" doc:"the MQTT 5 broker: mqtt://host:1883, or mqtts://host:8883 for TLS"`
	QoS      int        `config:"qos" min:"0" max:"2" doc:"0: a message may be lost between node and broker; 1 and 2: it comes again until the broker has acknowledged it"`
	Topic    string     `config:"topic" doc:"where a change is published, made of {{namespace}}, {{entry_type}}, {{key}} and {{operation}}"`
	Retain   bool       `config:"retain" doc:"whether the broker keeps each key's last change for subscribers that come later"`
	Username string     `config:"username" doc:"the name to log in with"`
	Password string     `config:"password,sensitive" doc:"the password to log in with"`
	TLS      *tlsConfig `config:"tls" doc:"for a broker with a certificate of its own, or one that asks for ours"`
}

// tlsConfig is the tls block. Files are read at each connection, so that they can
// be replaced without a restart.
type tlsConfig struct {
	CAFile   string `config:"ca_file" doc:"certificates to trust the broker by; default: the system's"`
	CertFile string `config:"cert_file" doc:"our certificate, where the broker asks for one"`
	KeyFile  string `config:"key_file" doc:"the key of cert_file"`
}

func defaults() config { return config{QoS: 1, Topic: defaultTopic} }

// settings are a configuration that was found good.
type settings struct {
	config
	host     string // with port
	secure   bool
	template template
	clientID string
	nodeID   string
	block    string
	// answerTimeout is how long a broker may answer none of what is under way.
	answerTimeout time.Duration
}

// settingsOf checks a configuration; its error lists all problems.
func settingsOf(c plugin.Config) (settings, error) {
	s := settings{
		config: defaults(), nodeID: c.NodeID, block: c.Name,
		clientID: clientID(c.NodeID, c.Name), answerTimeout: 20 * time.Second,
	}
	if err := c.Decode(&s.config); err != nil {
		return settings{}, err
	}
	var problems plugin.Problems
	report := func(path string, err error) {
		if err != nil {
			problems = append(problems, plugin.Problem{Path: path, Message: err.Error()})
		}
	}
	var err error
	s.host, s.secure, err = parseBroker(s.Broker)
	report("broker", err)
	s.template, err = parseTemplate(s.Topic)
	if err == nil && s.Retain {
		err = s.template.checkRetain(c.Namespaces)
	}
	report("topic", err)
	if s.Password != "" && s.Username == "" {
		report("username", fmt.Errorf("it is missing beside password: add it"))
	}
	if s.TLS != nil {
		problems = append(problems, s.TLS.check(s.secure)...)
	}
	if len(problems) > 0 {
		return settings{}, problems
	}
	return s, nil
}

// parseBroker reads the broker's URL. Its errors don't repeat the URL, which may
// hold a password.
func parseBroker(s string) (host string, secure bool, err error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return "", false, fmt.Errorf(`this is no broker's URL: write "mqtt://host:1883", or "mqtts://host:8883" for TLS`)
	}
	port := "1883"
	switch u.Scheme {
	case "mqtt":
	case "mqtts":
		secure, port = true, "8883"
	default:
		return "", false, fmt.Errorf("%s:// isn't spoken here: use mqtt://, or mqtts:// for TLS", u.Scheme)
	}
	if u.User != nil {
		return "", false, fmt.Errorf("name and password don't belong into the URL, which is shown in logs: use username and password")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return "", false, fmt.Errorf("the URL goes on behind host and port: leave that out")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port), secure, nil
}

// checkRetain says what a template lacks for a broker to keep one message for
// each key: what shares a topic would overwrite each other.
func (t template) checkRetain(namespaces []string) error {
	needed := []string{varEntryType, varKey}
	if len(namespaces) != 1 {
		needed = append(needed, varNamespace)
	}
	for _, name := range needed {
		if !t.has(name) {
			return fmt.Errorf("it lacks {{%s}}, and with retain = true different keys would overwrite each other: add it", name)
		}
	}
	if t.has(varOperation) {
		return fmt.Errorf("it has {{%s}}, and with retain = true the end of a key would not reach the topic where its last state is kept: leave it out", varOperation)
	}
	return nil
}

func (c *tlsConfig) check(secure bool) plugin.Problems {
	if !secure {
		return plugin.Problems{{Path: "tls", Message: "the broker is reached without TLS: begin its URL with mqtts://, or leave the block out"}}
	}
	var problems plugin.Problems
	if (c.CertFile == "") != (c.KeyFile == "") {
		missing := "cert_file"
		if c.KeyFile == "" {
			missing = "key_file"
		}
		problems = append(problems, plugin.Problem{Path: "tls." + missing, Message: "a certificate and its key belong together: name both files, or neither"})
	} else if _, err := c.certificate(); err != nil {
		problems = append(problems, plugin.Problem{Path: "tls.cert_file", Message: err.Error() + ": name files that the node can read"})
	}
	if _, err := c.roots(); err != nil {
		problems = append(problems, plugin.Problem{Path: "tls.ca_file", Message: err.Error() + ": name a PEM file that the node can read"})
	}
	return problems
}

// client is the configuration of one connection, of the files as they are now.
func (c *tlsConfig) client(host string) (*tls.Config, error) {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	if c == nil {
		return t, nil
	}
	if t.RootCAs, err = c.roots(); err != nil {
		return nil, err
	}
	cert, err := c.certificate()
	if err != nil {
		return nil, err
	}
	if cert != nil {
		t.Certificates = []tls.Certificate{*cert}
	}
	return t, nil
}

// roots is nil, for the system's, where no file is named.
func (c *tlsConfig) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", c.CAFile)
	}
	return pool, nil
}

func (c *tlsConfig) certificate() (*tls.Certificate, error) {
	if c.CertFile == "" || c.KeyFile == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate and key: %w", err)
	}
	return &cert, nil
}

// clientID is what the broker knows the block by: the same at each connection,
// so that a new one ends the one before it, and no message of that one comes late.
// All brokers take 23 letters and digits.
func clientID(node, block string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(node), node, block))
	return "unisondb" + hex.EncodeToString(sum[:])[:15]
}
