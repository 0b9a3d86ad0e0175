package truenas

import (
	"context"
	"encoding/json"
	"errors"
)

var errTODO = errors.New("not built yet")

type kind int

const (
	read   kind = iota // changes nothing: repeated when the link is lost
	change             // sent once: a lost reply is ErrUncertain
	job                // sent once, then waited for
)

type none = *struct{}
type ignored = json.RawMessage

type method[T any] struct {
	name string
	kind kind
}

func (m method[T]) call(ctx context.Context, c *Client, params ...any) (T, error) {
	var zero T
	return zero, errTODO
}
func (m method[T]) start(ctx context.Context, c *Client, params ...any) (JobID, error) {
	return 0, errTODO
}
func (m method[T]) wait(ctx context.Context, c *Client, progress func(Progress), params ...any) (Job, error) {
	return Job{}, errTODO
}
func (s Jobs) known(ctx context.Context, id JobID) (Job, error)                   { return Job{}, errTODO }
func (c *Client) need(ctx context.Context, method string, from, to Release) error { return errTODO }
func (c *Client) ready(ctx context.Context) (Release, error)                      { return Release{}, errTODO }
