package main

import (
	"bytes"
	"go/ast"
	"go/token"
	"math/big"
	"strings"
)

// condition changes that of an if, and drops its else.
func (f *finder) condition(node *ast.IfStmt) {
	f.decision(node.Cond)
	cond := f.text(node.Cond)
	f.replace("always: "+shorten(cond), node.Cond, "true || ("+cond+")")
	if otherwise, ok := node.Else.(*ast.BlockStmt); ok {
		f.replace("no else: "+shorten(cond), otherwise, "if false "+f.text(otherwise))
	}
}

func (f *finder) decision(cond ast.Expr) {
	text := f.text(cond)
	f.replace("never: "+shorten(text), cond, "false && ("+text+")")
	if binary, ok := cond.(*ast.BinaryExpr); ok && (binary.Op == token.EQL || binary.Op == token.NEQ) {
		return // its operator is changed anyway
	}
	f.replace("not: "+shorten(text), cond, "!("+text+")")
}

// cases is Visit for a switch: in one without a tag a case is a condition.
func (f *finder) cases(node *ast.SwitchStmt) {
	if node.Tag != nil {
		ast.Walk(f, node.Tag)
	}
	for _, statement := range node.Body.List {
		clause, ok := statement.(*ast.CaseClause)
		if !ok {
			continue
		}
		if node.Tag == nil {
			for _, cond := range clause.List {
				f.decision(cond)
				ast.Walk(f, cond)
			}
			for _, statement := range clause.Body {
				ast.Walk(f, statement)
			}
			continue
		}
		ast.Walk(f, clause)
	}
}

// clause drops a case with a value or a type, and what is done in it.
func (f *finder) clause(node *ast.CaseClause) {
	if len(node.List) > 0 {
		f.replace("no case: "+shorten(f.text(node)), node, "")
	}
	f.empty(node.Body)
}

func (f *finder) empty(body statements) {
	if len(body) > 0 {
		f.replace("empty case: "+shorten(f.text(body)), body, unreached(f.text(body)))
	}
}

var operators = map[token.Token]token.Token{
	token.LAND: token.LOR, token.LOR: token.LAND,
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL,
	token.SHL: token.SHR, token.SHR: token.SHL, token.AND: token.OR, token.OR: token.AND,
}

func (f *finder) operator(node *ast.BinaryExpr) {
	if node.Op == token.ADD && (isString(node.X) || isString(node.Y)) {
		return
	}
	with, ok := operators[node.Op]
	if !ok {
		return
	}
	old := f.text(node)
	f.replace(shorten(old)+": "+node.Op.String()+" => "+with.String(), node, "(("+f.text(node.X)+") "+with.String()+" ("+f.text(node.Y)+"))")
}

func isString(node ast.Expr) bool {
	switch node := node.(type) {
	case *ast.BasicLit:
		return node.Kind == token.STRING
	case *ast.BinaryExpr:
		return isString(node.X) || isString(node.Y)
	}
	return false
}

// isCapacity reports whether a call makes room that only time depends on.
func isCapacity(node *ast.CallExpr) bool {
	name, ok := node.Fun.(*ast.Ident)
	if !ok || name.Name != "make" || len(node.Args) < 2 {
		return false
	}
	_, isMap := node.Args[0].(*ast.MapType)
	return isMap || len(node.Args) > 2
}

// literal is for a constant, which says little without the line that it stands in.
func (f *finder) literal(node ast.Expr, with string) {
	at := f.offset(node.Pos())
	start := bytes.LastIndexByte(f.source[:at], '\n') + 1
	line, _, _ := strings.Cut(string(f.source[start:]), "\n")
	f.replace(becomes(f.text(node), with)+" in "+shorten(line), node, with)
}

func (f *finder) constant(node *ast.BasicLit) {
	value, ok := new(big.Int).SetString(node.Value, 0)
	if node.Kind != token.INT || !ok {
		return
	}
	one := big.NewInt(1)
	f.literal(node, new(big.Int).Add(value, one).String())
	f.literal(node, "("+new(big.Int).Sub(value, one).String()+")")
}

func (f *finder) boolean(node *ast.Ident) {
	switch node.Name {
	case "true":
		f.literal(node, "false")
	case "false":
		f.literal(node, "true")
	}
}

func (f *finder) remove(node ast.Node) {
	f.replace("remove: "+shorten(f.text(node)), node, unreached(f.text(node)))
}

// returned makes each result its zero value, and a bool its opposite.
func (f *finder) returned(node *ast.ReturnStmt) {
	if len(f.results) == 0 {
		return
	}
	types := f.results[len(f.results)-1]
	instead := func(values []string) {
		with := "return " + strings.Join(values, ", ")
		f.replace(becomes(f.text(node), with), node, unreached(f.text(node))+"\n"+with)
	}
	switch {
	case len(types) == 0:
		f.remove(node)
	case len(node.Results) != len(types): // the named ones, or those of a call
		instead(zeros(types))
	default:
		values := make([]string, len(types))
		for i, result := range node.Results {
			values[i] = f.text(result)
		}
		for i, kind := range types {
			with := zero(kind)
			switch values[i] {
			case "nil", "0", `""`, "false", "true", kind + "{}":
				continue // zero already, or mutated as a constant
			}
			if kind == "bool" {
				with = "!(" + values[i] + ")"
			}
			changed := append([]string{}, values...)
			changed[i] = with
			instead(changed)
		}
	}
}

func zeros(types []string) []string {
	values := make([]string, len(types))
	for i, kind := range types {
		values[i] = zero(kind)
	}
	return values
}

func zero(kind string) string {
	if kind == "error" {
		return "nil"
	}
	return "*new(" + kind + ")"
}
