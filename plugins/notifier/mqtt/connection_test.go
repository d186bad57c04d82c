package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/unisondb/unisondb/sdk/notifier"
)

// silentBroker takes connections and says nothing.
func silentBroker(t *testing.T) string {
	t.Helper()
	return serveConnections(t, func(net.Conn) {})
}

// serveConnections has a function talk on each connection to an address. They
// end with the test.
func serveConnections(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var conns []net.Conn
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
			talk(conn)
		}
	}()
	t.Cleanup(func() {
		shut(t, l)
		<-done
		for _, conn := range conns {
			_ = conn.Close() // it may be closed already
		}
	})
	return l.Addr().String()
}

// greet does a broker's part of a connection's beginning.
func greet(t *testing.T, conn net.Conn, offer packets.Properties) {
	if _, err := packets.ReadPacket(conn); err != nil {
		t.Errorf("CONNECT: %v", err)
	}
	ack := packets.ControlPacket{FixedHeader: packets.FixedHeader{Type: packets.CONNACK}, Content: &packets.Connack{Properties: &offer}}
	if _, err := ack.WriteTo(conn); err != nil {
		t.Errorf("CONNACK: %v", err)
	}
}

// acknowledge takes messages with QoS 1 until the connection ends, and counts
// them.
func acknowledge(conn net.Conn, taken *atomic.Int64) {
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		if m, ok := p.Content.(*packets.Publish); ok {
			taken.Add(1)
			if _, err := (&packets.Puback{PacketID: m.PacketID, Properties: &packets.Properties{}}).WriteTo(conn); err != nil {
				return
			}
		}
	}
}

// A message that the broker says it can't take isn't sent: it would end the
// connection.
func TestMessageTooLarge(t *testing.T) {
	largest := uint32(1000)
	var taken atomic.Int64
	address := serveConnections(t, func(conn net.Conn) {
		greet(t, conn, packets.Properties{MaximumPacketSize: &largest})
		go acknowledge(conn, &taken)
	})
	m := start(t, map[string]any{"broker": "mqtt://" + address})
	long := put(1, "row")
	long.Columns = []string{strings.Repeat("c", 1000)}
	causes, reasons := notify(t, m, long, put(2, "small"), put(3, "row"))
	if n := taken.Load(); n != 1 {
		t.Errorf("%d messages were sent: what follows the one that wasn't has to wait", n)
	}
	if diff := cmp.Diff(map[int]notifier.Cause{0: notifier.Invalid, 2: notifier.Blocked}, causes); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
	if !strings.Contains(reasons[0], "takes 1000 at most") {
		t.Errorf("reason: %s", reasons[0])
	}
}

func TestBrokerWithoutRetainedMessages(t *testing.T) {
	no := byte(0)
	address := serveConnections(t, func(conn net.Conn) { greet(t, conn, packets.Properties{RetainAvailable: &no}) })
	m := start(t, map[string]any{"broker": "mqtt://" + address, "retain": true})
	causes, reasons := notify(t, m, put(1, "a"))
	if causes[0] != notifier.Unavailable || !strings.Contains(reasons[0], "set retain = false") {
		t.Errorf("%v, %v", causes, reasons)
	}
}

// A broker that takes messages and answers none is left, and events wait.
func TestBrokerWithoutAnswers(t *testing.T) {
	address := serveConnections(t, func(conn net.Conn) { greet(t, conn, packets.Properties{}) })
	s, err := settingsOf(configOf(t, map[string]any{"broker": "mqtt://" + address}))
	if err != nil {
		t.Fatal(err)
	}
	s.answerTimeout = 20 * time.Millisecond
	m := &mqtt{settings: s, broker: newBroker(s), writer: newWriter(s)}
	defer m.broker.close()
	causes, reasons := notify(t, m, put(1, "a"), put(2, "b"), put(3, "a"))
	if causes[0] != notifier.Unavailable || causes[1] != notifier.Unavailable || causes[2] != notifier.Blocked {
		t.Errorf("causes: %v", causes)
	}
	if !strings.Contains(reasons[0], "lost") {
		t.Errorf("reason: %s", reasons[0])
	}
}

// Something else listens where the broker is said to be.
func TestNoBroker(t *testing.T) {
	address := serveConnections(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.Close()
	})
	for scheme, want := range map[string]string{"mqtt://": "didn't accept|ended the connection", "mqtts://": "expects TLS"} {
		m := start(t, map[string]any{"broker": scheme + address})
		causes, reasons := notify(t, m, put(1, "a"))
		found := false
		for _, text := range strings.Split(want, "|") {
			found = found || strings.Contains(reasons[0], text)
		}
		if causes[0] != notifier.Unavailable || !found {
			t.Errorf("%s: %v, %v", scheme, causes, reasons)
		}
	}
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of a test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate for this machine, for both ends of a connection.
func (a *authority) issue() tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// write puts the authority's certificate into a file.
func (a *authority) write(file string) string {
	a.t.Helper()
	writePEM(a.t, file, "CERTIFICATE", a.cert.Raw)
	return file
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writePair(t *testing.T, dir string, c tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", c.Certificate[0])
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, keyFile, "PRIVATE KEY", der)
	return certFile, keyFile
}

// The broker asks for a certificate; then its authority and ours are replaced,
// which works without a restart.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	b := newMochi(t)
	b.tls = &tls.Config{Certificates: []tls.Certificate{ca.issue()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
	b.start()
	certFile, keyFile := writePair(t, dir, ca.issue())
	caFile := ca.write(filepath.Join(dir, "ca.pem"))
	m := start(t, map[string]any{
		"broker": "mqtts://" + b.address,
		"tls":    map[string]any{"ca_file": caFile, "cert_file": certFile, "key_file": keyFile},
	})
	deliver(t, m, put(1, "a"))

	b.stop()
	next := newAuthority(t)
	b.tls = &tls.Config{Certificates: []tls.Certificate{next.issue()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: next.pool()}
	b.start()
	for { // the first try may still meet the end of the old connection
		causes, reasons := notify(t, m, put(2, "a"))
		if len(causes) == 0 {
			t.Fatal("a broker was trusted whose authority isn't")
		}
		if strings.Contains(reasons[0], "tls.ca_file") {
			break
		}
	}
	writePair(t, dir, next.issue())
	next.write(caFile)
	deliver(t, m, put(2, "a"))
}
