package disk

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// An object is written in parts: S3 accepts at most ten thousand, each of at least five MiB except the last one.
const (
	s3LeastPart   = 8 * mib
	s3MostPart    = 48 * mib
	s3MostParts   = 10000
	s3BufferBytes = 32 * mib // of all parts that are filled or sent at a time, unless a single part is larger
	s3AbortWait   = 30 * time.Second
	s3PartWait    = 5 * time.Minute // for one part; it is sent again then
)

// s3Sink sends an object in parts, several at a time. The object becomes visible when all parts have arrived.
type s3Sink struct {
	ctx    context.Context // of the upload
	parts  context.Context // of its parts: ends with the first failure
	stop   context.CancelFunc
	core   minio.Core
	bucket string
	key    string
	id     string // the id of the upload
	policy RetryPolicy
	log    *zap.Logger

	free  chan []byte // empty buffers
	part  []byte      // the part that is being filled
	size  int         // of a part, in bytes
	sends *errgroup.Group
	sent  []*minio.CompletePart // by number; each written by its own goroutine
}

// s3PartBytes returns the size of the parts of an object, large enough for the limit of their number.
func s3PartBytes(most int64) int64 { return max(s3LeastPart, (most/(s3MostParts-100)+mib)/mib*mib) }

func (o *Opener) newS3Sink(ctx context.Context, ref *url.URL, dst Destination) (*s3Sink, error) {
	key := strings.TrimPrefix(ref.Path, "/")
	if key == "" || strings.HasSuffix(key, "/") {
		return nil, refusal(ErrInvalid, "s3 url names no key, expected s3://bucket/key")
	}
	size := s3PartBytes(dst.MostBytes)
	if size > s3MostPart {
		return nil, refusal(ErrTooLarge, "object of %d GiB, the limit is %d", dst.MostBytes/gib, int64(s3MostPart)*(s3MostParts-100)/gib)
	}
	client, err := o.s3Client(o.opts.S3.overriddenBy(Source{S3: dst.S3, Credentials: dst.Credentials}))
	if err != nil {
		return nil, err
	}
	s := &s3Sink{ctx: ctx, core: minio.Core{Client: client}, bucket: ref.Host, key: key, policy: o.opts.Retry, log: o.opts.Logger, size: int(size)}
	ctx, s.stop = context.WithCancel(ctx)
	s.sends, s.parts = errgroup.WithContext(ctx)
	count := max(1, s3BufferBytes/s.size)
	s.free = make(chan []byte, count)
	for range count {
		s.free <- nil // allocated at its first use
	}
	s.dropLeftovers()
	s.id, err = retried(s.ctx, s.policy, s.warn, func() (string, error) {
		id, err := s.core.NewMultipartUpload(s.ctx, s.bucket, s.key, minio.PutObjectOptions{ContentType: "application/octet-stream"})
		return id, writingError(s.ctx, err)
	})
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// dropLeftovers aborts uploads of this key by earlier processes: they are invisible, and cost money. A failure does not matter,
// because not every key may list them, and a bucket may have a rule that removes them.
func (s *s3Sink) dropLeftovers() {
	found, err := s.core.ListMultipartUploads(s.ctx, s.bucket, s.key, "", "", "", 100)
	for _, upload := range found.Uploads {
		if upload.Key == s.key {
			err = errors.Join(err, s.core.AbortMultipartUpload(s.ctx, s.bucket, s.key, upload.UploadID))
		}
	}
	if err != nil {
		s.log.Debug("list of unfinished uploads failed", zap.Error(writingError(s.ctx, err)))
	}
}

// Write implements [io.Writer].
func (s *s3Sink) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		if s.part == nil {
			if err := s.takeBuffer(); err != nil {
				return written, err
			}
		}
		n := min(len(p), s.size-len(s.part))
		s.part = append(s.part, p[:n]...)
		written, p = written+n, p[n:]
		if len(s.part) == s.size {
			if err := s.send(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// takeBuffer waits until one of the parts in transit has arrived.
func (s *s3Sink) takeBuffer() error {
	select {
	case buf := <-s.free:
		if buf == nil {
			buf = make([]byte, 0, s.size)
		}
		s.part = buf[:0]
		return nil
	case <-s.parts.Done():
		return s.ended()
	}
}

// ended returns the error that ended the parts before the object.
func (s *s3Sink) ended() error {
	if err := s.sends.Wait(); err != nil {
		return err
	}
	return context.Cause(s.parts)
}

// send starts to send the filled part.
func (s *s3Sink) send() error {
	part, done := s.part, &minio.CompletePart{PartNumber: len(s.sent) + 1}
	if done.PartNumber > s3MostParts {
		return refusal(ErrTooLarge, "object has more than %d parts of %d bytes", s3MostParts, s.size)
	}
	s.part, s.sent = nil, append(s.sent, done)
	s.sends.Go(func() (err error) {
		tries := 0
		done.ETag, err = s.put(done.PartNumber, part, &tries)
		if err != nil || tries > 1 {
			part = nil // The transport may still read it for a request with an early response.
		}
		s.free <- part
		return err
	})
	return nil
}

// put sends one part. The service compares the checksum; the signed body is not chunked, because some services store the chunk
// headers. It counts the attempts.
func (s *s3Sink) put(number int, part []byte, tries *int) (etag string, err error) {
	sum := md5.Sum(part)
	opts := minio.PutObjectPartOptions{Md5Base64: base64.StdEncoding.EncodeToString(sum[:]), DisableContentSha256: true}
	return retried(s.parts, s.policy, s.warn, func() (string, error) {
		*tries++
		ctx, cancel := context.WithTimeout(s.parts, s3PartWait)
		defer cancel()
		done, err := s.core.PutObjectPart(ctx, s.bucket, s.key, s.id, number, bytes.NewReader(part), int64(len(part)), opts)
		return done.ETag, writingError(s.parts, err)
	})
}

// commit sends the rest and completes the upload.
func (s *s3Sink) commit(n int64) error {
	if len(s.part) > 0 || len(s.sent) == 0 {
		if err := s.send(); err != nil {
			return err
		}
	}
	if err := s.sends.Wait(); err != nil {
		return err
	}
	parts := make([]minio.CompletePart, len(s.sent))
	for i, part := range s.sent {
		parts[i] = *part
	}
	if _, err := s.core.CompleteMultipartUpload(s.ctx, s.bucket, s.key, s.id, parts, minio.PutObjectOptions{}); err != nil {
		return writingError(s.ctx, err)
	}
	defer s.stop()
	return s.verify(n)
}

// verify checks the length of the object.
func (s *s3Sink) verify(n int64) error {
	info, err := retried(s.ctx, s.policy, s.warn, func() (minio.ObjectInfo, error) {
		info, err := s.core.StatObject(s.ctx, s.bucket, s.key, minio.StatObjectOptions{})
		return info, writingError(s.ctx, err)
	})
	if err == nil && info.Size != n {
		err = refusal(ErrLength, "object has %d bytes, %d were written", info.Size, n)
	}
	return err
}

// abort ends the upload, which was never visible.
func (s *s3Sink) abort() error {
	s.stop()
	_ = s.sends.Wait() // The upload is discarded whether or not a part failed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s3AbortWait)
	defer cancel()
	err := writingError(ctx, s.core.AbortMultipartUpload(ctx, s.bucket, s.key, s.id))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// writingError is s3Error, and returns nil for nil.
func writingError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return s3Error(ctx, err)
}

// warn logs a retry.
func (s *s3Sink) warn(err error, wait time.Duration) {
	s.log.Warn("destination unavailable, trying again", zap.String("key", s.key), zap.Duration("in", wait), zap.Error(err))
}
