package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
)

// errStalled ends a silent attempt.
var errStalled = errors.New("no data within the stall timeout")

// stream reads an object from its beginning to its end. After an interruption it requests the missing bytes.
type stream struct {
	ctx    context.Context
	name   string // without secrets
	obj    object
	policy RetryPolicy
	stall  time.Duration
	log    *zap.Logger
	// announced is the length according to a source other than the server, −1 for none.
	announced int64

	conn   *connection // nil between attempts
	off    int64       // bytes delivered
	failed uint        // interruptions since the last byte
	err    error       // the error that ended the stream
}

// connection is one attempt to read an object, which the stall timer can end.
type connection struct {
	ctx   context.Context
	end   context.CancelCauseFunc
	body  io.ReadCloser
	timer *time.Timer
}

// Read implements [io.Reader]. An error is final.
func (s *stream) Read(p []byte) (int, error) {
	for s.err == nil {
		n, err := s.attempt(p)
		s.off += int64(n)
		if n > 0 {
			s.failed = 0
		}
		s.err = s.judge(err)
		if n > 0 {
			return n, nil
		}
	}
	return 0, s.err
}

// attempt reads from the current connection, or makes one.
func (s *stream) attempt(p []byte) (int, error) {
	if s.conn == nil {
		if err := s.connect(); err != nil {
			return 0, final{err}
		}
	}
	s.conn.timer.Reset(s.stall)
	n, err := s.conn.body.Read(p)
	s.conn.timer.Stop()
	if err != nil && errors.Is(context.Cause(s.conn.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

// final marks an error that has been retried already, or that needs no retry.
type final struct{ error }

// judge returns the result of an attempt's error for the stream: nil when it continues.
func (s *stream) judge(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[final](err); ok {
		return f.error
	}
	size := s.size()
	switch {
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	case errors.Is(err, ErrChecksum):
		return err
	case size >= 0 && s.off > size:
		return refusal(ErrLength, "more than the announced %d bytes arrived", size)
	case err == io.EOF && (size < 0 || s.off == size):
		return io.EOF
	case err == io.EOF && s.obj.info().size < 0:
		return refusal(ErrLength, "source ended after %d bytes, announced were %d", s.off, size)
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	s.hangUp()
	if s.failed++; s.failed >= s.policy.Attempts {
		return fmt.Errorf("%w: interrupted at byte %d: %w", ErrUnavailable, s.off, withoutURL(err))
	}
	s.log.Warn("transfer interrupted, resuming", zap.String("image", s.name), zap.Int64("at", s.off), zap.Error(withoutURL(err)))
	return s.pause()
}

// pause waits before a retry at a source that accepts connections and delivers nothing.
func (s *stream) pause() error {
	if s.failed <= 1 {
		return nil // it delivered data, so the rest is requested immediately
	}
	wait := s.policy.MinWait << min(s.failed-2, 16)
	select {
	case <-time.After(min(wait, s.policy.MaxWait)):
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// connect opens the object at the next byte, with the retries of the policy.
func (s *stream) connect() error {
	conn, err := retried(s.ctx, s.policy, s.warn, s.dial)
	if err != nil {
		return err
	}
	s.conn = conn
	if size := s.obj.info().size; s.announced >= 0 && size >= 0 && size != s.announced {
		return refusal(ErrLength, "source has %d bytes, announced were %d", size, s.announced)
	}
	return nil
}

// size returns the length of the object in bytes, −1 if unknown.
func (s *stream) size() int64 {
	if size := s.obj.info().size; size >= 0 {
		return size
	}
	return s.announced
}

// warn logs a retry.
func (s *stream) warn(err error, wait time.Duration) {
	s.log.Warn("source unavailable, trying again", zap.String("image", s.name), zap.Duration("in", wait), zap.Error(err))
}

// dial makes one connection.
func (s *stream) dial() (*connection, error) {
	ctx, end := context.WithCancelCause(s.ctx)
	body, err := s.obj.open(ctx, s.off)
	if err != nil {
		end(nil)
		return nil, err
	}
	timer := time.AfterFunc(s.stall, func() { end(errStalled) })
	timer.Stop()
	return &connection{ctx: ctx, end: end, body: body, timer: timer}, nil
}

// hangUp closes the current connection, if any.
func (s *stream) hangUp() {
	if s.conn == nil {
		return
	}
	s.conn.timer.Stop()
	s.conn.end(nil)
	s.conn.body.Close()
	s.conn = nil
}

// Close ends the stream; it never fails.
func (s *stream) Close() error {
	s.hangUp()
	if s.err == nil {
		s.err = io.ErrClosedPipe
	}
	return nil
}
