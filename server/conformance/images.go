package conformance

import (
	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkImages prepares an image and makes a VM from it, both more than once.
func checkImages(c *checker) {
	if !c.offers.GetSupportsImageImport() || c.target.ImageURL == "" {
		return
	}
	c.sub("unreachable", checkUnreachableImage)
	first, again := c.prepare(c.name("image")), c.prepare(c.name("image"))
	if first.GetPreparedImagePath() != again.GetPreparedImagePath() {
		c.Errorf("repeated call: path %q, before %q", again.GetPreparedImagePath(), first.GetPreparedImagePath())
	}
	req := c.plain(c.name("of-image"))
	req.ImageJson = text(image{Path: first.GetPreparedImagePath()})
	id := c.create(req) // Create waits for the image if the provider returns a task.
	c.finish(first.GetTask())
	c.finish(again.GetTask())
	if got := c.create(req); got != id {
		c.Errorf("Create after the image was ready: id %q, before %q", got, id)
	}
	c.await(id, stateOff)
	if done := c.prepare(c.name("image")); done.GetTask().GetId() != "" {
		c.finish(done.GetTask())
	}
}

// checkUnreachableImage prepares an image from a closed port. The manager treats an image as prepared when its task is done,
// even when it failed, and never calls again. So the call must fail without a task; the manager then retries every few seconds.
func checkUnreachableImage(c *checker) {
	_, err := call(c, c.target.Client.ImagePrepare, &providerv1.ImagePrepareRequest{
		ImageJson: text(object{"source": object{"libvirt": object{"url": "http://127.0.0.1:1/conformance.qcow2"}}}), TargetName: c.name("unreachable"),
	})
	c.refused("ImagePrepare from a closed port", err)
}

// prepare requests the target's image under a name.
func (c *checker) prepare(name string) *providerv1.ImagePrepareResponse {
	c.Helper()
	resp, err := call(c, c.target.Client.ImagePrepare, &providerv1.ImagePrepareRequest{
		ImageJson: text(object{"source": object{"libvirt": object{"url": c.target.ImageURL}}}), TargetName: name,
	})
	if err != nil {
		c.Fatal(err)
	}
	// The fields must be set while the image is in preparation, too: the manager never reads them later.
	if resp.GetPreparedImageId() == "" || resp.GetPreparedImagePath() == "" {
		c.Fatalf("ImagePrepare returns the id %q and the path %q", resp.GetPreparedImageId(), resp.GetPreparedImagePath())
	}
	return resp
}

// preparedImage returns the path of the target's image after its preparation; empty if the provider prepares none.
func (c *checker) preparedImage() string {
	c.Helper()
	if !c.offers.GetSupportsImageImport() || c.target.ImageURL == "" {
		return ""
	}
	resp := c.prepare(c.name("image"))
	c.finish(resp.GetTask())
	return resp.GetPreparedImagePath()
}
