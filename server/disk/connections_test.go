package disk

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Two images of one server that offers HTTP/2 use separate connections.
func TestImagesShareNoConnection(t *testing.T) {
	disk := scattered(4, 0, 1, 2, 3)
	var mu sync.Mutex
	from := map[string]string{} // path by the address of the client
	both := make(chan struct{})
	arrived := sync.OnceFunc(func() { close(both) })
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr] = r.URL.Path
		if len(from) == 2 {
			arrived()
		}
		mu.Unlock()
		w.Header().Set("Content-Length", "4194304")
		w.Write(disk[:mib])
		http.NewResponseController(w).Flush()
		select {
		case <-both:
			w.Write(disk[mib:])
		case <-r.Context().Done():
		}
	}))
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	o := newOpener(t, func(opts *Options) { opts.TLS = &tls.Config{RootCAs: roots} })
	var all sync.WaitGroup
	for _, name := range []string{"/a.raw", "/b.raw"} {
		all.Go(func() {
			img, err := o.Open(timeout(t), Source{URL: web.URL + name, Bytes: 4 * mib})
			if err != nil {
				t.Error(err)
				return
			}
			defer img.Close()
			r := img.Reader()
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, disk) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		})
	}
	all.Wait()
	if len(from) != 2 {
		t.Errorf("the images came over %v; want a connection for each", from)
	}
}
