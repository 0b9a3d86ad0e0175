package hardware

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Lengths of a screen's password, in characters. VNC accepts no longer one.
const (
	passwordSPICE = 20
	passwordVNC   = 8
)

// loopback is the default address of a screen. The web interface of the NAS reaches it there.
const loopback = "127.0.0.1"

// displayFor plans the screen of a VM. A class without a screen keeps a screen that a user has added.
func displayFor(vm truenas.VM, v settings.Values) (list []Device, drop []truenas.Device, err error) {
	switch {
	case v.Display == "" && (v.DisplayBind != "" || v.DisplayResolution != ""):
		return nil, nil, refusal.InvalidArgument(spec.HardwareField("display"), "must be given with display_bind and display_resolution")
	case v.Display == "":
		return nil, nil, nil
	case v.Display == settings.DisplayNone:
		return nil, displays(vm), nil
	case v.Display == settings.DisplayVNC && v.DisplayBind == "":
		return nil, nil, refusal.InvalidArgument(spec.HardwareField("display_bind"), "must be given for vnc, such as the address of the NAS: the web interface does not show VNC screens")
	}
	d := newDisplay(v)
	if have, ok := d.In(vm); ok {
		d.Change = displayOnto(have.Attributes, v)
	} else {
		d.Attributes.Password = password(v.Display)
	}
	return []Device{d}, nil, nil
}

// newDisplay returns the screen of the class, without its password.
func newDisplay(v settings.Values) Device {
	web := v.Display == settings.DisplaySPICE
	a := truenas.DeviceAttributes{DType: truenas.DeviceDisplay, Type: NASWord(v.Display), Bind: v.DisplayBind, Resolution: v.DisplayResolution, Web: &web}
	if a.Bind == "" {
		a.Bind = loopback
	}
	kind := a.Type
	return Device{What: "screen", Field: spec.HardwareField("display"), Order: orderDisplay, Attributes: a, is: func(have truenas.DeviceAttributes) bool {
		return have.DType == truenas.DeviceDisplay && have.Type == kind
	}}
}

// masked is the password that TrueNAS shows to a key without the right to read it.
const masked = "********"

// displayOnto returns the attributes of a screen after the changes of the class, or nil without a change. Up to 25.04 TrueNAS
// resets an omitted attribute to its default, so displayOnto sends all of them. It makes a new password when the key may not read
// the old one.
func displayOnto(have truenas.DeviceAttributes, v settings.Values) *truenas.DeviceAttributes {
	change, differs := have, false
	if v.DisplayBind != "" && v.DisplayBind != have.Bind {
		change.Bind, differs = v.DisplayBind, true
	}
	if v.DisplayResolution != "" && v.DisplayResolution != have.Resolution {
		change.Resolution, differs = v.DisplayResolution, true
	}
	if !differs {
		return nil
	}
	if change.Password == "" || change.Password == masked {
		change.Password = password(v.Display)
	}
	return &change
}

// password makes the password of a screen. Only the NAS stores it.
func password(display string) string {
	length := passwordSPICE
	if display == settings.DisplayVNC {
		length = passwordVNC
	}
	return rand.Text()[:length] // 5 bits a character.
}

func displays(vm truenas.VM) []truenas.Device {
	var list []truenas.Device
	for _, d := range vm.Devices {
		if d.Attributes.DType == truenas.DeviceDisplay {
			list = append(list, d)
		}
	}
	return list
}

// ConsoleURL is the URL of the VM's screen: in the browser for SPICE, with a client for VNC. It is empty for a VM without a
// screen and for a screen that listens only on the NAS itself. It never contains the password.
func ConsoleURL(nas *truenas.Client, vm truenas.VM) string {
	endpoint, err := url.Parse(nas.Status().Endpoint)
	if err != nil || endpoint.Host == "" {
		return ""
	}
	for _, d := range displays(vm) {
		switch a := d.Attributes; {
		case a.Web != nil && *a.Web && a.Type != "VNC":
			return webConsole(endpoint, d.ID)
		case a.Type == "VNC" && a.Port != 0:
			if host := reachable(a.Bind, endpoint.Hostname()); host != "" {
				return (&url.URL{Scheme: "vnc", Host: net.JoinHostPort(host, strconv.Itoa(a.Port))}).String()
			}
		}
	}
	return ""
}

// webConsole returns the URL of a screen in the web interface of the NAS.
func webConsole(endpoint *url.URL, device int64) string {
	path := fmt.Sprintf("vm/display/%d/", device)
	query := "path=" + url.QueryEscape(path) + "&autoconnect=1"
	scheme := strings.Replace(endpoint.Scheme, "ws", "http", 1)
	return (&url.URL{Scheme: scheme, Host: endpoint.Host, Path: "/" + path + "spice_auto.html", RawQuery: query}).String()
}

// reachable returns the host under which other hosts reach a listener on an address of the NAS, or "".
func reachable(bind, nas string) string {
	addr, err := netip.ParseAddr(bind)
	switch {
	case err != nil || addr.IsLoopback():
		return ""
	case addr.IsUnspecified():
		return nas
	}
	return bind
}

// checkBind refuses an address that the NAS does not have.
func checkBind(ctx context.Context, nas *truenas.Client, bind string) error {
	if bind == "" {
		return nil
	}
	return oneOf(ctx, "display_bind", bind, nas.Devices.BindChoices)
}
