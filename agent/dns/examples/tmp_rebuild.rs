#![allow(missing_docs)]
use lictor_dns::*;use lictor_state::*;use lictor_wire::*;use std::sync::{Arc,Mutex};
struct S(Mutex<Arc<View>>);
#[async_trait::async_trait] impl Source for S { fn view(&self)->Option<Arc<View>>{Some(self.0.lock().unwrap().clone())} async fn consistent_view(&self)->Result<Option<Arc<View>>,SourceError>{Ok(self.view())}}
fn main(){
 let n:u64=std::env::args().nth(1).unwrap().parse().unwrap();
 let mut st=State::default();let mut ix=0; let mut reg=|st:&mut State,i:u64,status:Status,out:&str|{ let r=RegisterRequest{node:format!("web-{i}").into(),address:format!("10.0.{}.{}",i/250,i%250).into(),datacenter:"dc1".into(),service:Some(Box::new(NodeService{id:"web".into(),service:"web".into(),port:80,..Default::default()})),checks:vec![HealthCheck{check_id:"c".into(),service_id:"web".into(),status:status.clone(),output:out.into(),..Default::default()},HealthCheck{check_id:"serfHealth".into(),status:Status::Passing,..Default::default()}],..Default::default()};
 ix+=1; st.apply(ix,&Entry{at:0,command:Command::Register(Box::new(r))},&mut Changes::default());};
 for i in 0..n{reg(&mut st,i,Status::Passing,"")}
 let src=Arc::new(S(Mutex::new(Arc::new(st.view()))));
 let r=Responder::new(Settings::default(),src.clone()).unwrap();
 let rt=tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
 let mut p=b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x07service\x06consul\0\0".to_vec(); p.extend([1,0,1]);
 let from="127.0.0.1:5".parse().unwrap();
 let mut tot=0; for k in 0..20u64{ reg(&mut st,k%n,Status::Passing,&format!("o{k}")); *src.0.lock().unwrap()=Arc::new(st.view()); let t=std::time::Instant::now(); rt.block_on(r.respond(&p,from,Transport::Udp)); tot+=t.elapsed().as_micros();} println!("rebuild {n}: {} us",tot/20);
 let t=std::time::Instant::now(); for _ in 0..20 {std::hint::black_box(st.view().health("web"));} println!("health alone {} us",t.elapsed().as_micros()/20);
}
