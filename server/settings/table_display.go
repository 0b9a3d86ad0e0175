package settings

import "net/netip"

// Values of the setting display.
const (
	DisplayNone  = "none"
	DisplaySPICE = "spice"
	DisplayVNC   = "vnc"
)

func displaySettings() []Setting {
	const group = "Screen"
	return []Setting{
		{
			Name: "display", Group: group, Title: "Screen", Kind: Choice, Allowed: []string{DisplayNone, DisplaySPICE, DisplayVNC},
			About:   "A remote screen: SPICE in the browser, through the web interface of the NAS, or VNC with a client. The provider generates a password for a new screen; the web interface of the NAS shows it among the VM's devices.",
			Newer:   map[string]Release{DisplayVNC: {25, 10}},
			Default: DisplayNone, NAS: "a device `DISPLAY`", Change: NextStart, of: func(v *Values) any { return &v.Display },
		},
		{
			Name: "display_bind", Group: group, Title: "Address of the screen", Kind: Text, check: checkIP,
			About:   "The address of the NAS that the screen listens on. Required for VNC, which the web interface does not offer.",
			Default: "127.0.0.1", NAS: "`bind` of the device", Change: NextStart, of: func(v *Values) any { return &v.DisplayBind },
		},
		{
			Name: "display_resolution", Group: group, Title: "Resolution", Kind: Choice,
			Allowed: []string{"1920x1200", "1920x1080", "1600x1200", "1600x900", "1400x1050", "1280x1024", "1280x720", "1024x768", "800x600", "640x480"},
			About:   "The resolution of the screen.",
			Default: "1024x768", NAS: "`resolution` of the device", Change: NextStart, of: func(v *Values) any { return &v.DisplayResolution },
		},
	}
}

func checkIP(text string) string {
	if _, err := netip.ParseAddr(text); err != nil {
		return "not an IP address"
	}
	return ""
}
