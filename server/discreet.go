package server

import (
	"errors"

	"go.uber.org/zap"
)

// discreet is a failure whose text names something that may belong to another tenant. A manager of line 0.4 has tenants, who
// read its messages in the status of their objects, so they get the public text, and the log gets the other one.
type discreet struct {
	error
	public string
}

func (d discreet) Unwrap() error { return d.error }

// withheld gives a failure the text that every tenant may read.
func withheld(err error, public string) error { return discreet{err, public} }

// reworded is a failure in other words.
type reworded struct {
	error
	text string
}

func (r reworded) Error() string { return r.text }
func (r reworded) Unwrap() error { return r.error }

// public is the failure as the manager's tenants may read it.
func (s *Server) public(err error) error {
	var d discreet
	if !s.newerManager.Load() || !errors.As(err, &d) {
		return err
	}
	s.log.Warn("refused because of something of another owner", zap.Error(err))
	return reworded{err, d.public}
}
