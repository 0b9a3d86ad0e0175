package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// sources are the sources of images and staged disks: a web server, and an S3 store.
type sources struct {
	images, s3 *http.Server
}

// imageBytes is the size of the guest's disk in the images.
const imageBytes = 16 << 20

func startSources() (*sources, error) {
	store := s3mem.New()
	if err := store.CreateBucket("migrations"); err != nil {
		return nil, err
	}
	s := &sources{
		images: &http.Server{Handler: http.HandlerFunc(serveImage), ReadHeaderTimeout: time.Minute},
		s3:     &http.Server{Handler: gofakes3.New(store).Server(), ReadHeaderTimeout: time.Minute},
	}
	for server, address := range map[*http.Server]string{s.images: addressImages + ":80", s.s3: addressS3 + ":9000"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		go func() { _ = server.Serve(l) }() // it ends with the process
	}
	return s, nil
}

// serveImage serves /<any name>.qcow2, with a different image for each name. /slow.qcow2 is limited to 2 MiB a second, and
// /missing.qcow2 does not exist.
func serveImage(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/missing.qcow2" {
		http.NotFound(w, r)
		return
	}
	body := image(r.URL.Path)
	if r.URL.Path != "/slow.qcow2" || r.Method == http.MethodHead {
		http.ServeContent(w, r, r.URL.Path, time.Time{}, bytes.NewReader(body))
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	for len(body) > 0 {
		n := min(2<<20, len(body))
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		w.(http.Flusher).Flush() // supported by the server's writer
		body = body[n:]
		select {
		case <-r.Context().Done():
			return
		case <-pace.C:
		}
	}
}

// image returns a qcow2 of imageBytes whose content is the repeated name. Its first clusters are the header, the two levels of
// the mapping tables, and the two levels of the reference counts, which are all 1.
func image(name string) []byte {
	const (
		cluster = 64 << 10
		data    = 5               // the first cluster of data
		copied  = uint64(1) << 63 // one user
	)
	clusters := imageBytes / cluster
	out := make([]byte, (data+clusters)*cluster)
	be := binary.BigEndian
	copy(out, "QFI\xfb")
	be.PutUint32(out[4:], 2)           // version
	be.PutUint32(out[20:], 16)         // bits of a cluster
	be.PutUint64(out[24:], imageBytes) // the guest's disk
	be.PutUint32(out[36:], 1)          // entries of the first level
	be.PutUint64(out[40:], 1*cluster)
	be.PutUint64(out[48:], 3*cluster) // counts
	be.PutUint32(out[56:], 1)
	be.PutUint64(out[1*cluster:], copied|2*cluster)
	be.PutUint64(out[3*cluster:], 4*cluster)
	for i := range data + clusters {
		be.PutUint16(out[4*cluster+2*i:], 1)
	}
	for i := range clusters {
		be.PutUint64(out[2*cluster+8*i:], copied|uint64((data+i)*cluster))
	}
	content := out[data*cluster:]
	for n := copy(content, name+"\n"); n < len(content); n *= 2 {
		copy(content[n:], content[:n])
	}
	return out
}

// checksum returns the checksum of an image in the form of a VMImage.
func checksum(name string) string {
	sum := sha256.Sum256(image(name))
	return hex.EncodeToString(sum[:])
}

func imageURL(name string) string { return fmt.Sprintf("http://%s%s", addressImages, name) }
