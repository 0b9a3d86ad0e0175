package disk

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestAddressesThatAreRefused(t *testing.T) {
	o := newOpener(t, func(o *Options) { o.AllowAddresses = nil })
	for _, tt := range []struct{ name, host string }{
		{"loopback", "127.0.0.1"},
		{"another loopback", "127.8.9.10"},
		{"loopback of IPv6", "[::1]"},
		{"loopback as one number", "2130706433"},
		{"loopback in hexadecimal", "0x7f000001"},
		{"loopback in octal", "0177.0.0.1"},
		{"loopback cut short", "127.1"},
		{"loopback mapped into IPv6", "[::ffff:127.0.0.1]"},
		{"loopback mapped in hexadecimal", "[::ffff:7f00:1]"},
		{"loopback behind NAT64", "[64:ff9b::7f00:1]"},
		{"loopback behind 6to4", "[2002:7f00:1::]"},
		{"loopback by name", "localhost"},
		{"loopback by name with a dot", "127.0.0.1."},
		{"link-local", "169.254.169.254"},
		{"link-local as one number", "2852039166"},
		{"link-local in hexadecimal parts", "0xa9.0xfe.0xa9.0xfe"},
		{"link-local of IPv6", "[fe80::1]"},
		{"link-local of IPv6 with a zone", "[fe80::1%25eth0]"},
		{"link-local mapped into IPv6", "[::ffff:169.254.169.254]"},
		{"unspecified", "0.0.0.0"},
		{"unspecified as one number", "0"},
		{"unspecified of IPv6", "[::]"},
		{"this network", "0.1.2.3"},
		{"multicast", "224.0.0.1"},
		{"multicast of IPv6", "[ff02::1]"},
		{"broadcast", "255.255.255.255"},
		{"metadata of AWS over IPv6", "[fd00:ec2::254]"},
		{"metadata of Alibaba", "100.100.100.200"},
		{"metadata of Azure", "168.63.129.16"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := o.Open(timeout(t), Source{URL: "http://" + tt.host + ":9/image.raw"})
			want(t, err, ErrRefused, "address")
		})
	}
}

func TestAllowedAddresses(t *testing.T) {
	for _, addr := range []string{"10.1.2.3", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fd12::1", "64:ff9b::808:808"} {
		if err := (guard{}).check(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	content := rawDisk(8192)
	target := serve(t, content)
	_, port, _ := strings.Cut(strings.TrimPrefix(target, "http://"), ":")
	port, _, _ = strings.Cut(port, "/")
	onlyThis := func(o *Options) { o.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }
	for _, tt := range []struct {
		name, to string
		says     string // empty: it is followed
	}{
		{"to a server that is allowed", target, ""},
		{"to loopback", "http://127.0.0.2:" + port + "/image", "loopback"},
		{"to loopback as one number", "http://2130706434:" + port + "/image", "loopback"},
		{"to link-local", "http://169.254.169.254/latest/meta-data", "link-local"},
		{"to link-local of IPv6", "http://[fe80::1]/", "link-local"},
		{"to unspecified", "http://0.0.0.0:" + port + "/image", "unspecified"},
		{"to a file", "file:///etc/passwd", "allowed are http and https"},
		{"to gopher", "gopher://127.0.0.1:" + port, "allowed are http and https"},
		{"to itself forever", "", "more than 10 redirects"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requests := 0
			url := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				to := tt.to
				if to == "" {
					to = r.URL.String()
				}
				http.Redirect(w, r, to, http.StatusFound)
			})
			_, got, err := read(t, newOpener(t, onlyThis), Source{URL: url})
			if tt.says == "" {
				if err != nil || string(got) != string(content) {
					t.Fatalf("%d bytes, error %v", len(got), err)
				}
				return
			}
			want(t, err, ErrRefused, tt.says)
			if requests > redirectsLimit {
				t.Errorf("a refusal was retried: %d requests", requests)
			}
		})
	}
}

func TestRedirectFromTLSToPlain(t *testing.T) {
	via := []*http.Request{mustRequest(t, "https://example.org/")}
	want(t, checkRedirect(mustRequest(t, "http://example.org/?sig=secret"), via), ErrRefused, "from https to http://example.org/")
	if err := checkRedirect(mustRequest(t, "https://example.org/"), via); err != nil {
		t.Error(err)
	}
}

func mustRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
