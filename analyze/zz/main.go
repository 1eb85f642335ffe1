package main
import ("fmt";"plumbline/analyze/loggen")
func main(){ n,err:=loggen.Folder("/tmp/biglog",300<<20,40000,200,1); fmt.Println(n,err)}
