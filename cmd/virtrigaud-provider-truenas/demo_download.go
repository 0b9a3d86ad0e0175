package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// The image of the demo: a disk of 64 MiB with data in every fourth cluster.
const (
	cluster      = 64 << 10 // bytes
	diskClusters = 1024
	dataEvery    = 4
)

// download is an image on a web server on loopback.
type download struct {
	url    string
	sum    string
	disk   []byte // expected content of the disk
	served *atomic.Int64
	size   int64
	close  func()
}

// offerImage makes a qcow2 with data and serves it over HTTP. It counts every sent byte, and shows them as a bar on a terminal.
func offerImage(out io.Writer) (*download, error) {
	disk := make([]byte, diskClusters*cluster)
	data := rand.NewChaCha8([32]byte{})
	for i := 0; i < diskClusters; i += dataEvery {
		_, _ = data.Read(disk[i*cluster : (i+1)*cluster])
	}
	image := qcow2(disk)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &download{
		url: "http://" + listener.Addr().String() + "/debian12.qcow2", sum: fmt.Sprintf("%x", sha256.Sum256(image)),
		disk: disk, size: int64(len(image)), served: &atomic.Int64{},
	}
	bar := barOn(out, d.size)
	web := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(counted{w, d.served, bar}, r, "debian12.qcow2", time.Time{}, bytes.NewReader(image))
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = web.Serve(listener) // returns after Close
	}()
	d.close = func() {
		_ = web.Close()
		<-ended
	}
	return d, nil
}

// barOn returns a bar that is visible only on a terminal.
func barOn(out io.Writer, size int64) *progressbar.ProgressBar {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return progressbar.DefaultBytesSilent(size)
	}
	return progressbar.NewOptions64(size, progressbar.OptionSetWriter(out), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("   download"), progressbar.OptionSetWidth(40), progressbar.OptionClearOnFinish())
}

type counted struct {
	http.ResponseWriter
	served *atomic.Int64
	bar    *progressbar.ProgressBar
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.served.Add(int64(n))
	_ = c.bar.Add(n)
	return n, err
}

// qcow2 writes a disk as a qcow2 of version 3 without the clusters of zeros. The clusters are, in order: the header, the table
// and the single block of reference counts, the L1 table, the L2 table, and the data.
func qcow2(disk []byte) []byte {
	const refcountTable, refcountBlock, l1, l2 = 1 * cluster, 2 * cluster, 3 * cluster, 4 * cluster
	const copied = 1 << 63 // the cluster has one reference only
	image := make([]byte, 5*cluster)
	big := binary.BigEndian
	copy(image, "QFI\xfb")
	big.PutUint32(image[4:], 3)                  // version
	big.PutUint32(image[20:], 16)                // cluster bits
	big.PutUint64(image[24:], uint64(len(disk))) // virtual size
	big.PutUint32(image[36:], 1)                 // entries of L1
	big.PutUint64(image[40:], l1)
	big.PutUint64(image[48:], refcountTable)
	big.PutUint32(image[56:], 1)    // clusters of the table of reference counts
	big.PutUint32(image[96:], 4)    // reference counts have 1<<4 bits
	big.PutUint32(image[100:], 104) // length of the header
	big.PutUint64(image[refcountTable:], refcountBlock)
	big.PutUint64(image[l1:], l2|copied)
	zeros := make([]byte, cluster)
	for i := range len(disk) / cluster {
		content := disk[i*cluster : (i+1)*cluster]
		if bytes.Equal(content, zeros) {
			continue
		}
		big.PutUint64(image[l2+8*i:], uint64(len(image))|copied)
		image = append(image, content...)
	}
	for i := range len(image) / cluster {
		big.PutUint16(image[refcountBlock+2*i:], 1)
	}
	return image
}
