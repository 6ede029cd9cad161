package main

import (
	"bytes"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// colour is one colour of a chart's bars.
type colour struct {
	name   string
	values plotter.Values // one for each label
}

var colours = []color.Color{color.RGBA{0x1f, 0x6f, 0xb4, 0xff}, color.RGBA{0xf2, 0x8e, 0x2b, 0xff}, color.RGBA{0x76, 0xb7, 0xb2, 0xff}}

// bars draws a chart of lying bars, the first label on top.
func bars(file, title, unit string, labels []string, groups ...colour) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, unit
	p.BackgroundColor = color.White
	p.Add(plotter.NewGrid())
	const width = 12 // of a bar, in points
	n := len(labels)
	names := make([]string, n)
	for i, label := range labels {
		names[n-1-i] = strings.ReplaceAll(label, "`", "")
	}
	p.NominalY(names...)
	p.X.Min, p.Y.Min, p.Y.Max = 0, -0.6, float64(n)-0.4
	p.Y.Padding = vg.Points(25) // a viewer's own font may be wider
	for g, grp := range groups {
		values := make(plotter.Values, n)
		for i, v := range grp.values {
			values[n-1-i] = v
		}
		chart, err := plotter.NewBarChart(values, vg.Points(width))
		if err != nil {
			return err
		}
		chart.Horizontal = true
		chart.Color = colours[g%len(colours)]
		chart.LineStyle.Width = 0
		chart.Offset = vg.Points((float64(len(groups)-1)/2 - float64(g)) * width)
		p.Add(chart)
		if grp.name != "" {
			p.Legend.Add(grp.name, chart)
		}
	}
	p.Legend.Left, p.Legend.XOffs, p.Legend.Padding = true, 3.2*vg.Inch, vg.Points(2)
	p.Legend.TextStyle.Font.Size = vg.Points(10)
	if len(groups) > 1 {
		p.X.Max *= 1.6 // room for the legend, beside the bars
	}
	height := vg.Points(float64(80 + n*(len(groups)*width+10)))
	canvas, err := p.WriterTo(8*vg.Inch, height, "svg")
	if err != nil {
		return err
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// Fonts of the same widths, for those who have not got this one.
	text := strings.ReplaceAll(svg.String(), "font-family:Liberation Sans", "font-family:Liberation Sans,Arial,Helvetica,sans-serif")
	return os.WriteFile(file, []byte(text), 0o644)
}

// draw draws the charts of a run into a folder.
func draw(r results, folder string) error {
	alone, together := r.cost(r.scale.few, serial), r.cost(r.scale.few, concurrent)
	var names []string
	ns := []colour{{name: serial.String()}, {name: concurrent.String()}}
	for _, name := range variantNames {
		if _, ok := alone[name]; !ok || name == miss || name == spanAlone {
			continue
		}
		names = append(names, name)
		ns[0].values = append(ns[0].values, spreadOf(alone[name]).median)
		ns[1].values = append(ns[1].values, spreadOf(together[name]).median)
	}
	err := bars(filepath.Join(folder, "call.svg"), "A call that is answered from memory, "+tokensText(r.scale.few), "ns", names, ns...)
	if err != nil {
		return err
	}

	names = []string{hit, handRolled, cacheGet, cacheDo, otterGet}
	var ratios []colour
	for _, tokens := range []int{1, r.scale.few, r.scale.many} {
		g := colour{name: tokensText(tokens)}
		for _, name := range names {
			g.values = append(g.values, r.cost(tokens, concurrent).ratio(name, kubernetes).median)
		}
		ratios = append(ratios, g)
	}
	err = bars(filepath.Join(folder, "tokens.svg"), "Time ÷ that of Kubernetes' token cache, "+concurrent.String(), "ratio", names, ratios...)
	if err != nil {
		return err
	}

	names = nil
	var memory colour
	for _, h := range r.holders {
		names = append(names, h.name)
		memory.values = append(memory.values, h.bytes)
	}
	return bars(filepath.Join(folder, "memory.svg"), "Memory of a session, of "+count(r.scale.held), "bytes", names, memory)
}
